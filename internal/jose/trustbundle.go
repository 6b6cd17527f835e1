package jose

import (
	"encoding/base64"
	"fmt"
	"time"
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
	document, entries, err := readEntries(doc)
	if err != nil {
		return nil, nil, fmt.Errorf("trust bundle: %w", err)
	}
	b := &TrustBundle{RefreshHint: refreshHint(document["spiffe_refresh_hint"])}
	for i := range entries {
		b.take(&entries[i])
	}
	var problems []KeyProblem
	b.Keys, problems = collect(entries)
	return b, problems, nil
}

func (b *TrustBundle) take(e *keyEntry) {
	if e.jwk == nil {
		return
	}
	switch e.jwk["use"] {
	case useJWTSVID:
		e.jwk["use"] = "sig"
		e.readKey()
	case useX509SVID:
		var der []byte
		if der, e.problem = authorityOf(e.jwk); e.problem == "" {
			b.Authorities = append(b.Authorities, der)
		}
	default:
		e.problem = problemBundleUse
	}
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
