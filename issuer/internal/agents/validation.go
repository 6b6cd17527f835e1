package agents

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agentidp/agentidp/internal/problem"
)

// Limits of the fields, in characters and entries.
const (
	NameCharsMax        = 100
	TypeCharsMax        = 40
	DescriptionCharsMax = 500
	CapabilitiesMax     = 50
	CapabilityCharsMax  = 100
	ScopesMax           = 100
	ScopeCharsMax       = 100
	AudiencesMin        = 1
	AudiencesMax        = 8 // as many as a verifier accepts in aud
	AudienceCharsMax    = 500
	ServesMax           = 8
)

// check says what is wrong with an agent's describable fields, the first problem only.
func check(a *Agent) error {
	if a.OrganizationID.IsZero() {
		return invalid("/organizationId", "organization_missing", "must name an organization")
	}
	if err := CheckName("/name", a.Name); err != nil {
		return err
	}
	if len(a.Type) > TypeCharsMax || !only(a.Type, "-") {
		return invalid("/type", "type_format", fmt.Sprintf("must be up to %d lower-case letters, digits and hyphens", TypeCharsMax))
	}
	if err := checkText("/description", a.Description, 0, DescriptionCharsMax, "\n\t"); err != nil {
		return err
	}
	if err := checkList("/capabilities", a.Capabilities, 0, CapabilitiesMax, checkCapability); err != nil {
		return err
	}
	if err := checkList("/scopes", a.Scopes, 0, ScopesMax, checkScope); err != nil {
		return err
	}
	if err := checkList("/audiences", a.Audiences, AudiencesMin, AudiencesMax, checkAudience); err != nil {
		return err
	}
	return checkList("/serves", a.Serves, 0, ServesMax, checkAudience)
}

// checkText refuses what a log line, a terminal or PostgreSQL would trip over: control characters (NUL among them), separators, text direction overrides.
func checkText(field, s string, charsMin, charsMax int, allowed string) error {
	noun := strings.TrimPrefix(field, "/")
	if !utf8.ValidString(s) {
		return invalid(field, noun+"_characters", "must be UTF-8")
	}
	if n := utf8.RuneCountInString(s); n < charsMin || n > charsMax {
		return invalid(field, noun+"_length", fmt.Sprintf("must be %d to %d characters", charsMin, charsMax))
	}
	for _, r := range s {
		if strings.ContainsRune(allowed, r) {
			continue
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return invalid(field, noun+"_characters", "must not hold control, line separator or text direction characters")
		}
	}
	return nil
}

func checkTrimmed(field, s string) error {
	if strings.TrimSpace(s) != s {
		return invalid(field, strings.TrimPrefix(field, "/")+"_characters", "must not begin or end with white space")
	}
	return nil
}

func checkList(field string, list []string, countMin, countMax int, entry func(string) (code, detail string)) error {
	if len(list) < countMin || len(list) > countMax {
		return invalid(field, strings.TrimPrefix(field, "/")+"_count", fmt.Sprintf("must have %d to %d entries", countMin, countMax))
	}
	seen := make(map[string]bool, len(list))
	for i, s := range list {
		at := fmt.Sprintf("%s/%d", field, i)
		if code, detail := entry(s); code != "" {
			return invalid(at, code, detail)
		}
		if seen[s] {
			return invalid(at, "duplicate_entry", "is in the list already")
		}
		seen[s] = true
	}
	return nil
}

func checkCapability(s string) (code, detail string) {
	if s == "" || len(s) > CapabilityCharsMax || !only(s, "_.:-") {
		return "capability_format", fmt.Sprintf("must be 1 to %d of a-z, 0-9, _ . : -", CapabilityCharsMax)
	}
	return "", ""
}

// checkScope accepts a scope-token (RFC 6749 s3.3): visible ASCII without quotation mark and backslash.
func checkScope(s string) (code, detail string) {
	bad := s == "" || len(s) > ScopeCharsMax
	for _, c := range []byte(s) {
		bad = bad || c <= ' ' || c >= 0x7f || c == '"' || c == '\\'
	}
	if bad {
		return "scope_format", fmt.Sprintf("must be 1 to %d visible ASCII characters without quotation mark and backslash", ScopeCharsMax)
	}
	return "", ""
}

// checkAudience accepts an absolute URI without fragment (RFC 8707 s2). User information is refused too: it is never part of a resource's name.
func checkAudience(s string) (code, detail string) {
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

// only reports whether s has nothing but lower-case letters, digits and the characters of extra.
func only(s, extra string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

func invalid(field, code, detail string) error {
	return &problem.Error{Kind: problem.Invalid, Code: code, Field: field, Detail: detail}
}
