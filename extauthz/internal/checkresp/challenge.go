package checkresp

// Scheme is the authentication scheme a client is told to use.
type Scheme int

const (
	SchemeBearer Scheme = iota // RFC 6750
	SchemeDPoP                 // RFC 9449: the credential was, or must be, a token with a proof
	SchemeEither               // nothing was presented, so either would do
)

// proofAlgorithms are jose.ProofAlgorithms, as a challenge lists them (RFC 9449 s7.1); a test compares the two.
const proofAlgorithms = "ES256 EdDSA PS256"

// headerNonce gives a client the nonce for its next proof (RFC 9449 s8.1).
const headerNonce = "dpop-nonce"

// Challenge is what WWW-Authenticate says (RFC 6750 s3, RFC 9449 s7.1). Without an error code it only says that a token is
// needed.
type Challenge struct {
	Scheme Scheme
	Error  string   // invalid_request, invalid_token, insufficient_scope, invalid_dpop_proof, use_dpop_nonce or ""
	Scopes []string // what would have been enough
	Nonce  string   // for the DPoP-Nonce header (RFC 9449 s8.1)
	// ResourceMetadata is where the resource's metadata is (RFC 9728 s5.1): an address without quotation mark and backslash.
	ResourceMetadata string
}

// appendTo renders the challenge, or both in one field (RFC 9110 s11.6.1). Quoted strings hold nothing that would need a
// backslash.
func (c *Challenge) appendTo(b []byte, description string) []byte {
	if c.Scheme != SchemeDPoP {
		b = append(b, `Bearer realm="`+realm+`"`...)
		b = c.appendMetadata(c.appendError(b, description))
	}
	if c.Scheme == SchemeEither {
		b = append(b, ", "...)
	}
	if c.Scheme != SchemeBearer {
		b = append(b, `DPoP realm="`+realm+`"`...)
		b = c.appendError(b, description)
		b = c.appendMetadata(append(b, `, algs="`+proofAlgorithms+`"`...))
	}
	return b
}

func (c *Challenge) appendMetadata(b []byte) []byte {
	if c.ResourceMetadata == "" {
		return b
	}
	return append(append(append(b, `, resource_metadata="`...), c.ResourceMetadata...), '"')
}

func (c *Challenge) appendError(b []byte, description string) []byte {
	if c.Error == "" {
		return b // RFC 6750 s3.1: no error information without a credential
	}
	b = append(append(b, `, error="`...), quotable(c.Error, codeBytesMax)...)
	b = append(append(b, `", error_description="`...), quotable(description, detailBytesMax)...)
	b = append(b, '"')
	before := len(b)
	b = append(b, `, scope="`...)
	from := len(b)
	if b = c.appendScopes(b); len(b) == from {
		return b[:before]
	}
	return append(b, '"')
}

// appendScopes appends what would have been enough, separated by spaces, as far as it fits.
func (c *Challenge) appendScopes(b []byte) []byte {
	from := len(b)
	for _, s := range c.Scopes {
		if !IsScopeToken(s) || len(b)-from+1+len(s) > challengeScopeMax {
			continue
		}
		if len(b) > from {
			b = append(b, ' ')
		}
		b = append(b, s...)
	}
	return b
}
