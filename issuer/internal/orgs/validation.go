package orgs

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// Limits of the fields, in characters.
const (
	SlugCharsMin        = 2
	SlugCharsMax        = 40
	DisplayNameCharsMax = 200
)

// IsSlug reports whether an organization could have this slug.
func IsSlug(s string) bool { return checkSlug(s) == nil }

// checkSlug accepts what is safe in a path segment, a host label and a file name: it ends up in issuer URLs and did:web.
func checkSlug(s string) error {
	if len(s) < SlugCharsMin || len(s) > SlugCharsMax {
		return fields.Invalid("/slug", "slug_length", fmt.Sprintf("must be %d to %d characters", SlugCharsMin, SlugCharsMax))
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fields.Invalid("/slug", "slug_characters", "must be lower-case letters, digits and hyphens")
		}
	}
	if s[0] == '-' || s[len(s)-1] == '-' {
		return fields.Invalid("/slug", "slug_characters", "must not begin or end with a hyphen")
	}
	return nil
}

func checkDisplayName(s string) error {
	const field = "/displayName"
	if !utf8.ValidString(s) {
		return fields.Invalid(field, "display_name_characters", "must be UTF-8")
	}
	if n := utf8.RuneCountInString(s); n == 0 || n > DisplayNameCharsMax {
		return fields.Invalid(field, "display_name_length", fmt.Sprintf("must be 1 to %d characters", DisplayNameCharsMax))
	}
	if strings.TrimSpace(s) != s {
		return fields.Invalid(field, "display_name_characters", "must not begin or end with white space")
	}
	if !strings.ContainsFunc(s, unicode.IsGraphic) {
		return fields.Invalid(field, "display_name_characters", "must have a character that can be seen")
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return fields.Invalid(field, "display_name_characters", "must not hold control, line separator or text direction characters")
		}
	}
	return nil
}
