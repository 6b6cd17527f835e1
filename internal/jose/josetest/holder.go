package josetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"time"
)

// Holder is a client that holds a key and proves it (RFC 9449), or tries to.
type Holder struct{ key *ecdsa.PrivateKey }

// NewHolder makes a holder of a new P-256 key.
func NewHolder() *Holder {
	return &Holder{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
}

// JWK is the public key.
func (h *Holder) JWK() json.RawMessage {
	return json.RawMessage("{" + jwkMembers(h.key.Public()) + "}")
}

// Thumbprint is what cnf.jkt of a token bound to the key is (RFC 7638).
func (h *Holder) Thumbprint() string {
	point := must(h.key.PublicKey.Bytes())
	text := `{"crv":"P-256","kty":"EC","x":"` + encode(point[1:33]) + `","y":"` + encode(point[33:]) + `"}`
	digest := sha256.Sum256([]byte(text))
	return encode(digest[:])
}

// Prove is a good proof for a request with a token. Changes to the claims, name, value, name, value …, may make it a bad
// one; a nil value takes the claim out.
func (h *Holder) Prove(method, uri, token string, now time.Time, changes ...any) string {
	digest := sha256.Sum256([]byte(token))
	claims := map[string]any{
		"jti": rand.Text(), "htm": method, "htu": uri, "iat": now.Unix(), "ath": encode(digest[:]),
	}
	for n := 0; n < len(changes); n += 2 {
		claims[changes[n].(string)] = changes[n+1]
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return h.Sign(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+string(h.JWK())+`}`, string(must(json.Marshal(claims))))
}

// Sign signs any header and payload with the key.
func (h *Holder) Sign(header, payload string) string {
	return join(header, payload, func(signed string) []byte { return ecdsaSign(h.key, signed) })
}
