// Package credential finds the one credential of a request, or refuses it. Where more than one could be meant, none is:
// choosing is how tokens are smuggled past the party that checks them. It is pure.
package credential

import (
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// Reason is the closed set of causes for which a credential is refused: metric label, decision log, problem code.
type Reason string

const (
	ReasonMissing   Reason = "credential_missing"   // there is none
	ReasonMalformed Reason = "credential_malformed" // an Authorization header that is not exactly one token
	ReasonQuery     Reason = "credential_in_query"  // access_token in the URL, where logs and referrers see it
	ReasonScheme    Reason = "credential_scheme"    // an authentication scheme that is not spoken here
	ReasonProof     Reason = "proof_missing"        // the DPoP scheme without exactly one DPoP header
	ReasonToken     Reason = "token_malformed"      // a well-formed token (RFC 6750 s2.1) that cannot be a JWS
)

// Scheme is how a token was presented.
type Scheme string

const (
	SchemeBearer Scheme = "bearer" // RFC 6750: whoever holds the token may use it
	SchemeDPoP   Scheme = "dpop"   // RFC 9449: together with a proof
)

// Credential is what a request presents. That the two schemes stay apart is what keeps a stolen bound token from being
// used as if it were not bound: neither is ever taken for the other.
type Credential struct {
	Scheme Scheme
	Token  string // base64url characters and dots only; nothing else about it is known
	Proof  string // the one DPoP header, with the DPoP scheme; as it came
}

// Class says how the client is told, by RFC 6750 s3.1 and RFC 9449 s7.1.
type Class int

const (
	Unauthenticated Class = iota // 401 without error code: no credential, or one of another scheme
	InvalidRequest               // 400 invalid_request
	InvalidToken                 // 401 invalid_token
	InvalidProof                 // 401 invalid_dpop_proof
)

// Refusal says why there is no usable credential. Detail is fixed text.
type Refusal struct {
	Reason Reason
	Class  Class
	Detail string
	Scheme Scheme // of the attempt; "" when it was neither
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// Find returns the one credential of the Authorization header (RFC 6750 s2.1, RFC 9449 s7.1), or why there is none. A
// request without any is refused with ReasonMissing; the caller decides whether it needed one. A DPoP header beside a
// Bearer token is nobody's proof and is not looked at.
func Find(r *checkreq.Request) (Credential, *Refusal) {
	if r.HasParameter("access_token") {
		// RFC 6750 s2.3 discourages it, RFC 9700 s4.3.2 forbids it. Ignoring it would leave a token in every access log.
		return Credential{}, &Refusal{Reason: ReasonQuery, Class: InvalidRequest, Detail: "access tokens are not accepted in the query"}
	}
	fields := r.Headers.Values("authorization")
	switch len(fields) {
	case 0:
		return Credential{}, &Refusal{Reason: ReasonMissing, Class: Unauthenticated, Detail: "an access token is required"}
	case 1:
	default: // checkreq refuses this already
		return Credential{}, malformed("", "more than one Authorization header")
	}
	c, refusal := parse(fields[0].Value)
	if refusal != nil || c.Scheme != SchemeDPoP {
		return c, refusal
	}
	proofs := r.Headers.Values("dpop")
	if len(proofs) != 1 { // RFC 9449 s4.3, check 1; more than one is refused by checkreq already
		return Credential{}, &Refusal{Reason: ReasonProof, Class: InvalidProof, Detail: "the DPoP scheme needs exactly one DPoP header", Scheme: SchemeDPoP}
	}
	c.Proof = proofs[0].Value
	return c, nil
}

func parse(value string) (Credential, *Refusal) {
	name, token, spaced := strings.Cut(value, " ")
	var scheme Scheme
	switch {
	case value == "" || !isScheme(name):
		return Credential{}, malformed("", "the Authorization header has no authentication scheme")
	case strings.EqualFold(name, string(SchemeBearer)):
		scheme = SchemeBearer
	case strings.EqualFold(name, string(SchemeDPoP)):
		scheme = SchemeDPoP
	default:
		return Credential{}, &Refusal{Reason: ReasonScheme, Class: Unauthenticated, Detail: "the authentication scheme is not accepted here"}
	}
	if !spaced || token == "" {
		return Credential{}, malformed(scheme, "the authentication scheme needs a token")
	}
	if refusal := checkToken(scheme, token); refusal != nil {
		return Credential{}, refusal
	}
	return Credential{Scheme: scheme, Token: token}, nil
}

func checkToken(scheme Scheme, token string) *Refusal {
	jws := true
	for i := range len(token) {
		if jwsCharacters[token[i]] {
			continue
		}
		switch c := token[i]; {
		case c == '~' || c == '+' || c == '/' || c == '=':
			jws = false // token68 allows it, the compact JWS serialisation does not
		default: // a space or tab more, a comma and a second credential, anything else
			return malformed(scheme, "the Authorization header is not one token")
		}
	}
	if !jws {
		return &Refusal{Reason: ReasonToken, Class: InvalidToken, Detail: "the access token is not a signed JWT", Scheme: scheme}
	}
	return nil
}

// jwsCharacters are those of a compact JWS: base64url and the dots between its parts.
var jwsCharacters = func() (set [256]bool) {
	for c := range set {
		set[c] = isAlphanumeric(byte(c)) || c == '-' || c == '_' || c == '.'
	}
	return set
}()

func malformed(scheme Scheme, detail string) *Refusal {
	return &Refusal{Reason: ReasonMalformed, Class: InvalidRequest, Detail: detail, Scheme: scheme}
}

// isScheme accepts the names authentication schemes have (RFC 9110 s11.1, narrowed to what is registered).
func isScheme(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
