package jose

import (
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// Assertion is a JWT by which a client says who it is: a client assertion (RFC 7523 s2.2) or a JWT-SVID. Its form was checked and its signature was not,
// until Verify.
type Assertion struct {
	header    *header // keyID is empty when the assertion names none
	signed    string
	signature []byte
	payload   map[string]any
}

// AssertionRules say what an assertion must be. The zero value accepts nothing.
type AssertionRules struct {
	Subject    string        // sub, exact
	Issuer     string        // iss, exact; "" for assertions whose iss says nothing (a JWT-SVID need not have one)
	Audience   string        // aud: this one as a string, and no other beside it
	Types      []string      // accepted typ, lower case, without "application/"; one that is absent counts as "jwt"
	Algorithms []Algorithm   // accepted alg
	AheadMax   time.Duration // how far exp may lie in the future
	Skew       time.Duration // allowed clock difference
	SingleUse  bool          // jti is required, so that the assertion can be told from others and used once
}

// AssertionClaims are what a verified assertion says beyond what its rules demanded.
type AssertionClaims struct {
	ID        string // jti; "" when absent
	KeyID     string // of the key that verified it
	ExpiresAt int64  // seconds since the epoch
}

// ParseAssertion reads an assertion as strictly as ParseToken reads a token, but for what clients' libraries leave out: kid, iat and typ are optional
// (RFC 7523 s3 asks for none of them), and so is iss here.
func ParseAssertion(compact string) (*Assertion, error) {
	form, err := splitCompact(compact)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(form.header, keyIDOptional)
	if err != nil {
		return nil, err
	}
	payload, err := strictjson.ParseObject(form.payload, payloadLimits)
	if err != nil {
		return nil, refuse(ReasonClaims, "payload is not one strict JSON object within the limits")
	}
	return &Assertion{header: h, signed: form.signed, signature: form.signature, payload: payload}, nil
}

// Subject is the unverified sub, "" when there is none. Use it only to look up who it may be.
func (a *Assertion) Subject() string {
	sub, ok := a.payload["sub"].(string)
	if !ok || !visible(sub, subjectBytesMax) {
		return ""
	}
	return sub
}

// KeyID is the unverified kid, "" when the assertion names none. Use it only to find keys of the client that Subject names.
func (a *Assertion) KeyID() string { return a.header.keyID }

// Verify checks type, algorithm, signature and claims, in this order. keys are those of the one client that the assertion may be of; the key it names is used, or, when
// it names none, each that fits, up to assertionKeysMax. Without a key that fits, a signature is checked all the same, and fails: whoever measures the time
// does not learn whether there is such a client.
func (a *Assertion) Verify(keys []*VerificationKey, r *AssertionRules, now time.Time) (*AssertionClaims, error) {
	if !slices.Contains(r.Types, a.header.typ) {
		return nil, refuse(ReasonType, "typ is not accepted here")
	}
	if !slices.Contains(r.Algorithms, a.header.algorithm) {
		return nil, refuse(ReasonAlgorithm, "alg is not accepted here")
	}
	key, err := a.verifyWithOneOf(keys)
	if err != nil {
		return nil, err
	}
	c, err := a.readClaims(r)
	if err != nil {
		return nil, err
	}
	c.KeyID = key.id
	return c, a.checkTime(c, r, now)
}

func (a *Assertion) verifyWithOneOf(keys []*VerificationKey) (*VerificationKey, error) {
	tried := 0
	for _, k := range keys {
		if k.algorithm != a.header.algorithm || a.header.keyID != "" && a.header.keyID != k.id {
			continue
		}
		if tried++; tried > assertionKeysMax {
			break
		}
		if k.verify([]byte(a.signed), a.signature) == nil {
			return k, nil
		}
	}
	if tried > 0 {
		return nil, refuse(ReasonSignature, "signature does not verify")
	}
	if decoy := decoyKey(a.header.algorithm); decoy != nil {
		_ = decoy.verify([]byte(a.signed), a.signature) // whatever it says
	}
	return nil, refuse(ReasonKeyID, "no key of the client fits the assertion")
}

// readClaims checks the names. Claims that are not looked at must not be spelled so that another reader would look at them.
func (a *Assertion) readClaims(r *AssertionRules) (*AssertionClaims, error) {
	for name := range a.payload {
		if !slices.Contains(claimNames, name) && foldsTo(name, claimNames) {
			return nil, refuse(ReasonClaims, "payload has a registered claim in the wrong case")
		}
	}
	if sub, _ := a.payload["sub"].(string); sub == "" || sub != r.Subject {
		return nil, refuse(ReasonClaims, "sub is missing or not the client")
	}
	if iss, present := a.payload["iss"]; r.Issuer != "" && iss != any(r.Issuer) || present && !isText(iss, issuerBytesMax) {
		return nil, refuse(ReasonIssuer, "iss is not the client")
	}
	// A list, also of one, is refused: FAPI 2.0 Security Profile s5.3.2.1 wants the issuer identifier as a string, so that no other server can be meant too.
	if aud, _ := a.payload["aud"].(string); aud == "" || aud != r.Audience {
		return nil, refuse(ReasonAudience, "aud is not the issuer identifier alone, as a string")
	}
	c := &AssertionClaims{}
	id, present := a.payload["jti"]
	if present && !isText(id, tokenIDBytesMax) || !present && r.SingleUse {
		return nil, refuse(ReasonClaims, "jti is missing or not a visible string")
	}
	c.ID, _ = id.(string)
	return c, nil
}

func isText(v any, bytesMax int) bool {
	s, ok := v.(string)
	return ok && visible(s, bytesMax)
}

// checkTime compares whole seconds. exp is required (RFC 7523 s3); what else is there must be true.
func (a *Assertion) checkTime(c *AssertionClaims, r *AssertionRules, now time.Time) error {
	var ok bool
	if c.ExpiresAt, ok = readSeconds(a.payload["exp"]); !ok {
		return refuse(ReasonClaims, "exp is missing or not whole seconds")
	}
	if now.Add(-r.Skew).Unix() >= c.ExpiresAt {
		return refuse(ReasonExpired, "assertion has expired")
	}
	if c.ExpiresAt > now.Add(r.AheadMax+r.Skew).Unix() {
		return refuse(ReasonLifetime, "exp lies too far ahead")
	}
	for _, name := range []string{"nbf", "iat"} {
		v, present := a.payload[name]
		if !present {
			continue
		}
		from, ok := readSeconds(v)
		if !ok || from >= c.ExpiresAt {
			return refuse(ReasonClaims, "nbf or iat is not whole seconds before exp")
		}
		if now.Add(r.Skew).Unix() < from {
			return refuse(ReasonNotYetValid, "assertion is not valid yet")
		}
	}
	return nil
}
