package jose

import (
	"encoding/json"
	"strconv"
)

// Claims are the verified contents of a token.
type Claims struct {
	Type      string // normalised typ
	KeyID     string
	Issuer    string
	Subject   string
	ID        string // jti
	Audience  []string
	IssuedAt  int64 // seconds since the epoch
	ExpiresAt int64
	NotBefore int64 // 0 when absent
	// Extra is every other signed member, as strictjson returns it. Objects and lists in it are shared by all Claims of one
	// Token and must not be changed.
	Extra map[string]any
}

// claimNames are the registered claims read here (RFC 7519 s4.1).
var claimNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// readClaims checks the form of the payload; what the values must be is for the rules.
func (t *Token) readClaims() (*Claims, error) {
	c := &Claims{Type: t.header.typ, KeyID: t.header.keyID, Issuer: t.issuer}
	if err := c.readNames(t.payload); err != nil {
		return nil, err
	}
	if err := c.readTimes(t.payload); err != nil {
		return nil, err
	}
	var ok bool
	if c.Audience, ok = readAudience(t.payload["aud"]); !ok {
		return nil, refuse(ReasonClaims, "aud is neither a visible string nor a list of 1 to 8")
	}
	c.Extra = make(map[string]any, max(0, len(t.payload)-len(claimNames)))
	for name, v := range t.payload {
		switch name {
		case "iss", "sub", "aud", "exp", "nbf", "iat", "jti":
			continue
		}
		if foldsTo(name, claimNames) {
			return nil, refuse(ReasonClaims, "payload has a registered claim in the wrong case")
		}
		c.Extra[name] = v
	}
	return c, nil
}

func (c *Claims) readNames(payload map[string]any) error {
	var ok bool
	if c.Subject, ok = payload["sub"].(string); !ok || !visible(c.Subject, subjectBytesMax) {
		return refuse(ReasonClaims, "sub is missing or not a visible string")
	}
	if c.ID, ok = payload["jti"].(string); !ok || !visible(c.ID, tokenIDBytesMax) {
		return refuse(ReasonClaims, "jti is missing or not a visible string")
	}
	return nil
}

func (c *Claims) readTimes(payload map[string]any) error {
	var ok bool
	if c.ExpiresAt, ok = readSeconds(payload["exp"]); !ok {
		return refuse(ReasonClaims, "exp is missing or not whole seconds")
	}
	if c.IssuedAt, ok = readSeconds(payload["iat"]); !ok {
		return refuse(ReasonClaims, "iat is missing or not whole seconds")
	}
	if c.ExpiresAt <= c.IssuedAt {
		return refuse(ReasonClaims, "exp is not after iat")
	}
	nbf, present := payload["nbf"]
	if !present {
		return nil
	}
	if c.NotBefore, ok = readSeconds(nbf); !ok {
		return refuse(ReasonClaims, "nbf is not whole seconds")
	}
	if c.NotBefore >= c.ExpiresAt {
		return refuse(ReasonClaims, "nbf is not before exp")
	}
	return nil
}

// readSeconds takes 1 to 253402300799 in plain integer spelling. RFC 7519 would allow fractions and exponents, but zero,
// fractions and large numbers are where readers disagree, some to the point of "never expires".
func readSeconds(v any) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok || number[0] < '1' { // a minus, or zero
		return 0, false
	}
	seconds, err := strconv.ParseInt(string(number), 10, 64) // refuses a point, an exponent and an overflow
	if err != nil || seconds > secondsMax {
		return 0, false
	}
	return seconds, true
}

func readAudience(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, visible(v, audienceBytesMax)
	case []any:
		if len(v) == 0 || len(v) > audiencesMax {
			return nil, false
		}
		list := make([]string, len(v))
		for i, element := range v {
			s, ok := element.(string)
			if !ok || !visible(s, audienceBytesMax) {
				return nil, false
			}
			list[i] = s
		}
		return list, true
	}
	return nil, false
}
