package jose

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// TrustBundle is what a SPIFFE trust domain publishes (SPIFFE Trust Domain and Bundle s4): keys for JWT-SVIDs and authorities for X.509-SVIDs. A key of one
// use is never taken for the other.
type TrustBundle struct {
	Keys        *KeySet
	Authorities [][]byte      // DER of each certificate; not parsed yet
	RefreshHint time.Duration // how often the domain wants to be asked; 0 when it does not say
}

// The uses of keys in a trust bundle (SPIFFE Trust Domain and Bundle s4.2.2).
const (
	useJWTSVID  = "jwt-svid"
	useX509SVID = "x509-svid"
)

const problemBundleUse = "use is neither jwt-svid nor x509-svid"

// ParseTrustBundle reads a SPIFFE bundle by the intake rules for key sets (docs/adr/0001): keys that cannot be used are left out and reported, the others
// are kept.
func ParseTrustBundle(doc []byte) (*TrustBundle, []KeyProblem, error) {
	document, err := strictjson.ParseObject(doc, keySetLimits)
	if err != nil {
		return nil, nil, fmt.Errorf("trust bundle: %w", err)
	}
	entries, ok := document["keys"].([]any)
	if !ok {
		return nil, nil, errors.New(`trust bundle: "keys" is missing or not a list`)
	}
	if len(entries) > keysMax {
		return nil, nil, fmt.Errorf("trust bundle: %d keys, at most %d are read", len(entries), keysMax)
	}
	b := &TrustBundle{Keys: &KeySet{keys: make(map[string]*VerificationKey)}, RefreshHint: refreshHint(document["spiffe_refresh_hint"])}
	var problems []KeyProblem
	uses := countKeyIDs(entries)
	for i, entry := range entries {
		if problem := b.take(entry, uses); problem != "" {
			problems = append(problems, KeyProblem{Index: i, KeyID: printable(keyIDOf(entry)), Reason: problem})
		}
	}
	return b, problems, nil
}

func (b *TrustBundle) take(entry any, uses map[string]int) (problem string) {
	jwk, ok := entry.(map[string]any)
	if !ok {
		return problemNotObject
	}
	switch jwk["use"] {
	case useJWTSVID:
		signing := maps.Clone(jwk)
		signing["use"] = "sig"
		key, problem := parseEntry(signing, uses)
		if problem != "" {
			return problem
		}
		b.Keys.keys[key.id] = key
		return ""
	case useX509SVID:
		der, problem := authorityOf(jwk)
		if problem == "" {
			b.Authorities = append(b.Authorities, der)
		}
		return problem
	}
	return problemBundleUse
}

// authorityOf is the one certificate of an entry. The members of the key beside it say nothing that the certificate does not.
func authorityOf(jwk map[string]any) (der []byte, problem string) {
	chain, ok := jwk["x5c"].([]any)
	if !ok || len(chain) != 1 {
		return nil, "x5c has not exactly one certificate"
	}
	text, _ := chain[0].(string)
	der, err := base64.StdEncoding.Strict().DecodeString(text) // RFC 7517 s4.7: not base64url
	if err != nil || len(der) == 0 {
		return nil, "x5c is not base64"
	}
	return der, ""
}

// refreshHint is whole seconds; what is not counts as absent.
func refreshHint(v any) time.Duration {
	seconds, ok := readSeconds(v)
	if !ok || seconds > secondsPerDay {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

const secondsPerDay = 24 * 60 * 60
