package jose

import "github.com/agentidp/agentidp/internal/strictjson"

// Token is a compact JWS whose form was checked and whose signature was not. It shows only what selects a trust record
// and a key; everything else waits for Verify. It is not changed after ParseToken.
type Token struct {
	header    *header
	signed    string // received text of header and payload
	signature []byte
	issuer    string
	payload   map[string]any
}

// ParseToken does steps 1 to 4 of the verification rules (docs/adr/0001): form, header, and the issuer read for lookup.
// The payload is read once, here, by the strict reader, so the issuer that selected the trust record and the one that is
// verified cannot be two.
func ParseToken(compact string) (*Token, error) {
	form, err := splitCompact(compact)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(form.header)
	if err != nil {
		return nil, err
	}
	payload, err := strictjson.ParseObject(form.payload, payloadLimits)
	if err != nil {
		return nil, refuse(ReasonClaims, "payload is not one strict JSON object within the limits")
	}
	issuer, ok := payload["iss"].(string)
	if !ok || !visible(issuer, issuerBytesMax) {
		return nil, refuse(ReasonClaims, "iss is missing or not a visible string")
	}
	return &Token{header: h, signed: form.signed, signature: form.signature, issuer: issuer, payload: payload}, nil
}

// Issuer is the unverified iss. Use it only to look up the trust record.
func (t *Token) Issuer() string { return t.issuer }

// KeyID is the unverified kid. Use it only together with the issuer.
func (t *Token) KeyID() string { return t.header.keyID }
