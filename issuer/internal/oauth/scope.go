package oauth

import (
	"slices"
	"strings"
)

// scopesMax bounds the list a client may send; it is also more than an agent can have.
const scopesMax = 100

// ParseScope reads a scope parameter: scope-tokens separated by single spaces (RFC 6749 s3.3). A token given twice counts once.
func ParseScope(s string) ([]string, bool) {
	tokens := strings.Split(s, " ")
	if len(tokens) > scopesMax {
		return nil, false
	}
	var scopes []string
	for _, token := range tokens {
		if !scopeToken(token) {
			return nil, false
		}
		if !slices.Contains(scopes, token) {
			scopes = append(scopes, token)
		}
	}
	return scopes, true
}

// scopeToken is 1*( %x21 / %x23-5B / %x5D-7E ).
func scopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
