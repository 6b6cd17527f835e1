// Package fields checks what nouns have in common: names, texts, and lists of scopes and audiences. A problem says which field is wrong, by its JSON pointer.
package fields

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agentidp/agentidp/internal/problem"
)

// Limits, in characters and entries.
const (
	NameCharsMax     = 100
	ScopesMax        = 100
	ScopeCharsMax    = 100
	AudiencesMax     = 8 // as many as a verifier accepts in aud
	AudienceCharsMax = 500
)

// Invalid is the problem of a field.
func Invalid(field, code, detail string) error {
	return &problem.Error{Kind: problem.Invalid, Code: code, Field: field, Detail: detail}
}

// CheckName says why s is no name.
func CheckName(field, s string) error {
	if err := CheckText(field, s, 1, NameCharsMax, ""); err != nil {
		return err
	}
	if strings.TrimSpace(s) != s {
		return Invalid(field, strings.TrimPrefix(field, "/")+"_characters", "must not begin or end with white space")
	}
	if !strings.ContainsFunc(s, unicode.IsGraphic) {
		return Invalid(field, strings.TrimPrefix(field, "/")+"_characters", "must have a character that can be seen")
	}
	return nil
}

// CheckScopes says why the list is not one of up to ScopesMax scope-tokens.
func CheckScopes(field string, list []string) error {
	return CheckList(field, list, 0, ScopesMax, scopeProblem)
}

// CheckAudiences says why the list is not one of up to AudiencesMax resources.
func CheckAudiences(field string, list []string) error {
	return CheckList(field, list, 0, AudiencesMax, AudienceProblem)
}

// CheckText refuses what a log line, a terminal or PostgreSQL would trip over: control characters (NUL among them), separators, text direction overrides.
func CheckText(field, s string, charsMin, charsMax int, allowed string) error {
	noun := strings.TrimPrefix(field, "/")
	if !utf8.ValidString(s) {
		return Invalid(field, noun+"_characters", "must be UTF-8")
	}
	if n := utf8.RuneCountInString(s); n < charsMin || n > charsMax {
		return Invalid(field, noun+"_length", fmt.Sprintf("must be %d to %d characters", charsMin, charsMax))
	}
	for _, r := range s {
		if strings.ContainsRune(allowed, r) {
			continue
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return Invalid(field, noun+"_characters", "must not hold control, line separator or text direction characters")
		}
	}
	return nil
}

// CheckList says why the list has not countMin to countMax entries, each once, with none of which entry finds a problem.
func CheckList(field string, list []string, countMin, countMax int, entry func(string) (code, detail string)) error {
	if len(list) < countMin || len(list) > countMax {
		return Invalid(field, strings.TrimPrefix(field, "/")+"_count", fmt.Sprintf("must have %d to %d entries", countMin, countMax))
	}
	seen := make(map[string]bool, len(list))
	for i, s := range list {
		at := fmt.Sprintf("%s/%d", field, i)
		if code, detail := entry(s); code != "" {
			return Invalid(at, code, detail)
		}
		if seen[s] {
			return Invalid(at, "duplicate_entry", "is in the list already")
		}
		seen[s] = true
	}
	return nil
}

// scopeProblem accepts a scope-token (RFC 6749 s3.3): visible ASCII without quotation mark and backslash.
func scopeProblem(s string) (code, detail string) {
	bad := s == "" || len(s) > ScopeCharsMax
	for _, c := range []byte(s) {
		bad = bad || c <= ' ' || c >= 0x7f || c == '"' || c == '\\'
	}
	if bad {
		return "scope_format", fmt.Sprintf("must be 1 to %d visible ASCII characters without quotation mark and backslash", ScopeCharsMax)
	}
	return "", ""
}

// AudienceProblem accepts an absolute URI without fragment (RFC 8707 s2). User information is refused too: it is never part of a resource's name.
func AudienceProblem(s string) (code, detail string) {
	const wrong = "audience_format"
	if len(s) > AudienceCharsMax {
		return wrong, fmt.Sprintf("must be at most %d characters", AudienceCharsMax)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return wrong, "must be visible ASCII characters"
		}
	}
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || u.Host == "" && u.Opaque == "" && u.Path == "" {
		return wrong, "must be an absolute URI"
	}
	if u.User != nil || strings.Contains(s, "#") {
		return wrong, "must not hold user information or a fragment"
	}
	return "", ""
}
