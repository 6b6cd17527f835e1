package jose

import (
	"encoding/json"
	"time"
)

// Algorithm is a JWS algorithm this system verifies and signs with. There is no other.
type Algorithm string

const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA" // also accepted under its RFC 9864 name, Ed25519
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256" // salt length must equal the hash length
)

// Reason is the closed set of causes for which a token is refused: metric label, decision log, test oracle.
type Reason string

const (
	ReasonMalformed   Reason = "token_malformed"     // not three canonical base64url segments, or too long
	ReasonHeader      Reason = "token_header"        // header JSON, or a header parameter that is never accepted
	ReasonType        Reason = "token_type"          // typ not on the entry point's list
	ReasonKeyID       Reason = "token_key_id"        // kid missing or not a visible-ASCII string
	ReasonAlgorithm   Reason = "token_algorithm"     // alg not the key's, or not on the issuer's list
	ReasonSignature   Reason = "token_signature"     // does not verify
	ReasonClaims      Reason = "token_claims"        // payload JSON, or a claim of the wrong type or form
	ReasonIssuer      Reason = "token_issuer"        // iss is not the expected one
	ReasonAudience    Reason = "token_audience"      // aud does not name us
	ReasonExpired     Reason = "token_expired"       // exp passed
	ReasonNotYetValid Reason = "token_not_yet_valid" // nbf or iat in the future
	ReasonLifetime    Reason = "token_lifetime"      // exp - iat above the issuer's maximum
)

// Error is why a token was refused. Detail is fixed text: it never carries bytes of the token.
type Error struct {
	Reason Reason
	Detail string
}

func (e *Error) Error() string { panic("contract") }

// Token is a compact JWS whose form was checked and whose signature was not. It shows only what selects a trust record
// and a key; everything else waits for Verify.
type Token struct{ raw string }

// ParseToken does steps 1 to 4 of the verification rules (docs/adr/0001): form, header, and the issuer read for lookup.
func ParseToken(compact string) (*Token, error) { panic("contract") }

// Issuer is the unverified iss. Use it only to look up the trust record.
func (t *Token) Issuer() string { panic("contract") }

// KeyID is the unverified kid. Use it only together with the issuer.
func (t *Token) KeyID() string { panic("contract") }

// Rules say what one issuer's tokens must be at one entry point. The zero value accepts nothing.
type Rules struct {
	Issuer      string        // exact
	Audiences   []string      // at least one must be in aud
	Types       []string      // accepted typ, lower case, without "application/"; a token without typ counts as "jwt"
	Algorithms  []Algorithm   // accepted alg
	LifetimeMax time.Duration // of exp - iat
	Skew        time.Duration // allowed clock difference
}

// Verify does the rest, in order: algorithm, signature over the received text, payload, time, issuer, audience.
func (t *Token) Verify(k *VerificationKey, r *Rules, now time.Time) (*Claims, error) {
	panic("contract")
}

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
	NotBefore int64          // 0 when absent
	Extra     map[string]any // every other signed member, as strictjson returns it
}

// VerificationKey is a checked public key pinned to one algorithm.
type VerificationKey struct{ id string }

// ID is the key's kid, Algorithm the only algorithm it verifies.
func (k *VerificationKey) ID() string           { panic("contract") }
func (k *VerificationKey) Algorithm() Algorithm { panic("contract") }

// Thumbprint is the RFC 7638 SHA-256 thumbprint, base64url.
func (k *VerificationKey) Thumbprint() string { panic("contract") }

// KeySet is one issuer's keys. Sets of different issuers are never merged.
type KeySet struct{ keys map[string]*VerificationKey }

// Lookup finds a key by exact kid.
func (s *KeySet) Lookup(kid string) (*VerificationKey, bool) { panic("contract") }

// Len is the number of usable keys.
func (s *KeySet) Len() int { panic("contract") }

// KeyProblem tells an operator why one key of a document was left out.
type KeyProblem struct {
	Index  int    // position in "keys"
	KeyID  string // as far as it could be read, sanitised
	Reason string
}

// ParseKeySet reads a JWKS document by the intake rules (docs/adr/0001): bad keys are left out and reported, good ones are
// kept. The error is for a document that is no JWKS at all. An empty set is no error: the caller decides what it means.
func ParseKeySet(doc []byte) (*KeySet, []KeyProblem, error) { panic("contract") }

// SigningKey is a private key with its algorithm; its ID is the RFC 7638 thumbprint.
type SigningKey struct{ id string }

func GenerateSigningKey(alg Algorithm) (*SigningKey, error)            { panic("contract") }
func ParseSigningKey(alg Algorithm, pkcs8 []byte) (*SigningKey, error) { panic("contract") }

func (k *SigningKey) ID() string                     { panic("contract") }
func (k *SigningKey) Algorithm() Algorithm           { panic("contract") }
func (k *SigningKey) PKCS8() ([]byte, error)         { panic("contract") }
func (k *SigningKey) PublicJWK() json.RawMessage     { panic("contract") } // kty, crv/n/e…, kid, alg, use=sig
func (k *SigningKey) Verification() *VerificationKey { panic("contract") }

// Sign returns the compact JWS of the claims (a JSON object, signed byte for byte) with typ, alg and kid in the header.
func (k *SigningKey) Sign(typ string, claims []byte) (string, error) { panic("contract") }

// MarshalKeySet writes {"keys":[…]} of public JWKs, in the order given.
func MarshalKeySet(jwks []json.RawMessage) []byte { panic("contract") }
