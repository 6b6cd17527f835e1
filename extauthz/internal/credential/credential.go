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
	ReasonMalformed Reason = "credential_malformed" // an Authorization header that is not exactly one Bearer token
	ReasonQuery     Reason = "credential_in_query"  // access_token in the URL, where logs and referrers see it
	ReasonScheme    Reason = "credential_scheme"    // an authentication scheme that is not spoken here
	ReasonDPoP      Reason = "credential_dpop"      // RFC 9449, not spoken yet; never treated as Bearer
	ReasonToken     Reason = "token_malformed"      // a well-formed Bearer token (RFC 6750) that cannot be a JWS
)

// Class says how the client is told, by RFC 6750 s3.1.
type Class int

const (
	Unauthenticated Class = iota // 401 without error code: no credential, or one of another scheme
	InvalidRequest               // 400 invalid_request
	InvalidToken                 // 401 invalid_token
)

// Refusal says why there is no usable credential. Detail is fixed text.
type Refusal struct {
	Reason Reason
	Class  Class
	Detail string
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// Bearer returns the token of the one "Authorization: Bearer" credential (RFC 6750 s2.1), or why there is none. A request
// without any credential is refused with ReasonMissing; the caller decides whether it needed one. The token consists of
// base64url characters and dots only; nothing else about it is known.
func Bearer(r *checkreq.Request) (string, *Refusal) {
	if _, ok := r.Parameters["access_token"]; ok {
		// RFC 6750 s2.3 discourages it, RFC 9700 s4.3.2 forbids it. Ignoring it would leave a token in every access log.
		return "", &Refusal{ReasonQuery, InvalidRequest, "access tokens are not accepted in the query"}
	}
	fields := r.Headers.Values("authorization")
	switch len(fields) {
	case 0:
		return "", &Refusal{ReasonMissing, Unauthenticated, "an access token is required"}
	case 1:
		return parse(fields[0].Value)
	default: // checkreq refuses this already
		return "", malformed("more than one Authorization header")
	}
}

func parse(value string) (string, *Refusal) {
	scheme, token, spaced := strings.Cut(value, " ")
	switch {
	case strings.EqualFold(scheme, "bearer") && !spaced:
		return "", malformed("the Bearer scheme needs a token")
	case strings.EqualFold(scheme, "bearer"):
		return bearerToken(token)
	case value == "" || !isScheme(scheme):
		return "", malformed("the Authorization header has no authentication scheme")
	case strings.EqualFold(scheme, "dpop"):
		return "", &Refusal{ReasonDPoP, Unauthenticated, "DPoP-bound tokens are not accepted here"}
	default:
		return "", &Refusal{ReasonScheme, Unauthenticated, "the authentication scheme is not accepted here"}
	}
}

func bearerToken(token string) (string, *Refusal) {
	if token == "" {
		return "", malformed("the Bearer scheme needs a token")
	}
	jws := true
	for i := range len(token) {
		switch c := token[i]; {
		case isAlphanumeric(c) || c == '-' || c == '_' || c == '.':
		case c == '~' || c == '+' || c == '/' || c == '=':
			jws = false // b64token allows it, the compact JWS serialisation does not
		default: // a space or tab more, a comma and a second credential, anything else
			return "", malformed("the Authorization header is not one Bearer token")
		}
	}
	if !jws {
		return "", &Refusal{ReasonToken, InvalidToken, "the access token is not a signed JWT"}
	}
	return token, nil
}

func malformed(detail string) *Refusal {
	return &Refusal{ReasonMalformed, InvalidRequest, detail}
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
