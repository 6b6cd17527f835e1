package jose

import (
	"slices"
	"time"
)

// Rules say what one issuer's tokens must be at one entry point. The zero value accepts nothing.
type Rules struct {
	Issuer      string        // exact
	Audiences   []string      // at least one must be in aud
	Types       []string      // accepted typ, lower case, without "application/"; a token without typ counts as "jwt"
	Algorithms  []Algorithm   // accepted alg
	LifetimeMax time.Duration // of exp - iat
	Skew        time.Duration // allowed clock difference

	// AnyAudience is for an issuer that judges a token of its own, which it addressed to others. Whoever acts on a token leaves it unset.
	AnyAudience bool
}

// Equal reports whether r and other are the same in every field, lists in the same order: what was verified under the one holds under the other.
func (r *Rules) Equal(other *Rules) bool {
	return r.Issuer == other.Issuer && r.LifetimeMax == other.LifetimeMax && r.Skew == other.Skew && r.AnyAudience == other.AnyAudience &&
		slices.Equal(r.Audiences, other.Audiences) && slices.Equal(r.Types, other.Types) && slices.Equal(r.Algorithms, other.Algorithms)
}

// Verify does the rest, in order: type, algorithm, signature over the received text, payload, time, issuer, audience. The
// key must be the one Lookup returned for the token's KeyID in the issuer's own set.
//
// An ECDSA signature (r, s) has the twin (r, n-s), which is as valid and needs no secret to compute. It is accepted:
// nothing that was signed differs. Therefore never tell tokens apart by their whole text where it matters (replay,
// revocation): use issuer and jti.
func (t *Token) Verify(k *VerificationKey, r *Rules, now time.Time) (*Claims, error) {
	if !slices.Contains(r.Types, t.header.typ) {
		return nil, refuse(ReasonType, "typ is not accepted here")
	}
	if k == nil || k.id != t.header.keyID {
		return nil, refuse(ReasonKeyID, "key is not the one the token names")
	}
	// RFC 8725 s3.1: the key says which algorithm, the header may only agree.
	if t.header.algorithm != k.algorithm {
		return nil, refuse(ReasonAlgorithm, "alg is not the key's")
	}
	if !slices.Contains(r.Algorithms, k.algorithm) {
		return nil, refuse(ReasonAlgorithm, "alg is not accepted of this issuer")
	}
	if err := k.verify([]byte(t.signed), t.signature); err != nil {
		return nil, err
	}
	c, err := t.readClaims()
	if err != nil {
		return nil, err
	}
	c.KeyID = k.id // the same text, of which there is one for all tokens
	if err := r.checkTime(c, now); err != nil {
		return nil, err
	}
	if r.Issuer != c.Issuer {
		return nil, refuse(ReasonIssuer, "iss is not the expected issuer")
	}
	if !r.AnyAudience && !slices.ContainsFunc(c.Audience, func(aud string) bool { return slices.Contains(r.Audiences, aud) }) {
		return nil, refuse(ReasonAudience, "aud does not name this service")
	}
	return c, nil
}

// checkTime compares whole seconds. A token is valid from nbf and iat on, and no more at exp (RFC 7519 s4.1.4).
func (r *Rules) checkTime(c *Claims, now time.Time) error {
	// Not as durations: the two times may lie further apart than a time.Duration can say.
	if c.ExpiresAt-c.IssuedAt > int64(r.LifetimeMax/time.Second) {
		return refuse(ReasonLifetime, "token lives longer than the issuer may grant")
	}
	if now.Add(-r.Skew).Unix() >= c.ExpiresAt {
		return refuse(ReasonExpired, "token has expired")
	}
	if now.Add(r.Skew).Unix() < max(c.NotBefore, c.IssuedAt) {
		return refuse(ReasonNotYetValid, "token is not valid yet")
	}
	return nil
}
