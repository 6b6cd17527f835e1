package checkresp

import "strings"

// Scheme is the authentication scheme a client is told to use.
type Scheme int

const (
	SchemeBearer Scheme = iota // RFC 6750
	SchemeDPoP                 // RFC 9449: the credential was, or must be, a token with a proof
	SchemeEither               // nothing was presented, so either would do
)

// proofAlgorithms are jose.ProofAlgorithms, as a challenge lists them (RFC 9449 s7.1); a test compares the two.
const proofAlgorithms = "ES256 EdDSA RS256"

// Challenge is what WWW-Authenticate says (RFC 6750 s3, RFC 9449 s7.1). Without an error code it only says that a token is
// needed.
type Challenge struct {
	Scheme Scheme
	Error  string   // invalid_request, invalid_token, insufficient_scope, invalid_dpop_proof, use_dpop_nonce or ""
	Scopes []string // what would have been enough
	Nonce  string   // for the DPoP-Nonce header (RFC 9449 s8.1)
}

// value renders the challenge, or both in one field (RFC 9110 s11.6.1). Quoted strings hold nothing that would need a
// backslash.
func (c *Challenge) value(description string) string {
	var b strings.Builder
	if c.Scheme != SchemeDPoP {
		b.WriteString(`Bearer realm="` + realm + `"`)
		c.writeError(&b, description)
	}
	if c.Scheme == SchemeEither {
		b.WriteString(", ")
	}
	if c.Scheme != SchemeBearer {
		b.WriteString(`DPoP realm="` + realm + `"`)
		c.writeError(&b, description)
		b.WriteString(`, algs="` + proofAlgorithms + `"`)
	}
	return b.String()
}

func (c *Challenge) writeError(b *strings.Builder, description string) {
	if c.Error == "" {
		return // RFC 6750 s3.1: no error information without a credential
	}
	b.WriteString(`, error="` + quotable(c.Error, codeBytesMax) + `", error_description="` + quotable(description, detailBytesMax) + `"`)
	scopes := ""
	for _, s := range c.Scopes {
		if IsScopeToken(s) && len(scopes)+1+len(s) <= challengeScopeMax {
			scopes = strings.TrimPrefix(scopes+" "+s, " ")
		}
	}
	if scopes != "" {
		b.WriteString(`, scope="` + scopes + `"`)
	}
}
