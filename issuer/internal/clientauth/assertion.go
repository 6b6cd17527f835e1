package clientauth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

// The values of client_assertion_type.
const (
	assertionJWT    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 s2.2
	assertionSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" // draft-ietf-oauth-spiffe-client-auth s3.1
)

// Times of assertions.
const (
	// assertionAheadMax is how far exp may lie ahead: as long its jti is remembered.
	assertionAheadMax = 5 * time.Minute
	// svidAheadMax is the same for a JWT-SVID, which a workload uses many times until it expires.
	svidAheadMax = time.Hour
	// assertionSkew lies between the 10 seconds that FAPI 2.0 Security Profile s5.3.2.1 wants accepted and the 60 it wants refused.
	assertionSkew = 30 * time.Second
)

// assertion is private_key_jwt or spiffe_jwt.
type assertion struct {
	method credentials.Method
	id     string // client_id; for private_key_jwt sub, which says the same
	jwt    *jose.Assertion
}

// readAssertion wants both parameters (RFC 7521 s4.2). client_id may be left out where the assertion says it. A JWT-SVID says which workload it is of and not which
// client that is, so client_id must be there.
func readAssertion(form oauth.Form) (proof, error) {
	a := assertion{method: credentials.PrivateKeyJWT, id: form.Get("client_id")}
	switch form.Get("client_assertion_type") {
	case assertionJWT:
	case assertionSPIFFE:
		a.method = credentials.SPIFFEJWT
	case "":
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_assertion_type is missing."}
	default:
		return nil, &oauth.Error{Code: oauth.InvalidClient, Description: "This client_assertion_type is not served."}
	}
	text := form.Get("client_assertion")
	if text == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_assertion is missing."}
	}
	if a.method == credentials.SPIFFEJWT && a.id == "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is missing."}
	}
	var err error
	if a.jwt, err = jose.ParseAssertion(text); err != nil {
		return nil, failed(err)
	}
	if a.method == credentials.PrivateKeyJWT {
		sub := a.jwt.Subject()
		if a.id != "" && sub != "" && a.id != sub {
			return nil, otherClient()
		}
		a.id = sub
	}
	return a, nil
}

func (s assertion) client() string { return s.id }

// check implements checked.
func (s assertion) check(ctx context.Context, t *Trust, registered []credentials.Registered) (proven, error) {
	if s.method == credentials.SPIFFEJWT {
		credential, err := s.verifySVID(ctx, t, registered)
		return proven{credential, credentials.SPIFFEJWT, nil}, err // SVIDs are used until they expire
	}
	credential, claims, err := s.verify(ctx, t, registered)
	if err != nil {
		return proven{}, err
	}
	return proven{credential, credentials.PrivateKeyJWT, &issuance.SingleUse{
		Purpose: issuance.UseClientAssertion, Key: useKey(s.id, claims.ID), ExpiresAt: time.Unix(claims.ExpiresAt, 0).Add(assertionSkew),
	}}, nil
}

// useKey tells an assertion from all others by its client and jti. Its text would not do: an ECDSA signature has a twin.
func useKey(client, id string) [sha256.Size]byte {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(client)))
	return sha256.Sum256(append(append(text, client...), id...))
}

// verify tries each of the client's credentials that has a key for the assertion; without any, a decoy (jose.Assertion.Verify).
func (s assertion) verify(ctx context.Context, t *Trust, registered []credentials.Registered) (agentid.Credential, *jose.AssertionClaims, error) {
	rules := jose.AssertionRules{
		Subject: s.id, Issuer: s.id, Audience: issuers.From(ctx).ID, Types: []string{"jwt", "client-authentication+jwt"},
		AheadMax: assertionAheadMax, Skew: assertionSkew, SingleUse: true,
	}
	var last error
	var unreachable error
	for _, r := range registered {
		if r.Kind != credentials.KindPrivateKeyJWT {
			continue
		}
		keys, err := t.keysOf(ctx, r.Registration, s.jwt.KeyID())
		if err != nil {
			unreachable = err
			continue
		}
		rules.Algorithms = algorithms(r.Registration.Algorithms)
		claims, err := s.jwt.Verify(keys.Keys(), &rules, t.Now())
		if err == nil {
			return r.Credential, claims, nil
		}
		last = err
	}
	if unreachable != nil {
		return agentid.Credential{}, nil, unavailable(unreachable)
	}
	if last == nil {
		rules.Algorithms = algorithms(Algorithms())
		_, last = s.jwt.Verify(nil, &rules, t.Now())
	}
	return agentid.Credential{}, nil, refused(last)
}

// verifySVID is for the assertion type of SPIFFE. iss is not looked at: in a JWT-SVID it says nothing (JWT-SVID s3).
func (s assertion) verifySVID(ctx context.Context, t *Trust, registered []credentials.Registered) (agentid.Credential, error) {
	rules := jose.AssertionRules{
		Audience: issuers.From(ctx).ID, Types: []string{"jwt", "jose"}, Algorithms: algorithms(Algorithms()), AheadMax: svidAheadMax, Skew: assertionSkew,
	}
	for _, r := range registered {
		id, err := spiffe.ParseID(r.Registration.SPIFFEID)
		if r.Kind != credentials.KindSPIFFEJWT || err != nil || id.String() != s.jwt.Subject() {
			continue
		}
		keys, err := t.Bundles.Keys(id.TrustDomain)
		if err != nil {
			return agentid.Credential{}, unavailable(err)
		}
		rules.Subject = id.String()
		if _, err := s.jwt.Verify(keys.Keys(), &rules, t.Now()); err != nil {
			return agentid.Credential{}, refused(err)
		}
		return r.Credential, nil
	}
	_, err := s.jwt.Verify(nil, &rules, t.Now())
	return agentid.Credential{}, refused(err)
}

// keysOf is the key set of a registration, inline or at its URL.
func (t *Trust) keysOf(ctx context.Context, r credentials.Registration, kid string) (*jose.KeySet, error) {
	if r.KeysURL == "" {
		set, _, err := jose.ParseKeySet(r.Keys)
		return set, err
	}
	if t.Keys == nil {
		return nil, errors.New("key sets at a URL are not served")
	}
	return t.Keys.Keys(ctx, r.KeysURL, kid)
}

func algorithms(names []string) []jose.Algorithm {
	list := make([]jose.Algorithm, len(names))
	for i, name := range names {
		list[i] = jose.Algorithm(name)
	}
	return list
}

func refused(reason error) error {
	if reason == nil {
		return credentials.ErrAuthentication
	}
	return fmt.Errorf("%w: %w", credentials.ErrAuthentication, reason)
}

// unavailable is a proof that cannot be judged now: neither accepted nor refused.
func unavailable(err error) error {
	return &problem.Error{Kind: problem.Unavailable, Code: "keys_unavailable", Detail: "the keys of the client cannot be reached", Err: err}
}
