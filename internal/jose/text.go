package jose

import (
	"unicode"
	"unicode/utf8"
)

// visible reports whether an identifier is 1 to bytesMax bytes of characters a person can see. Letters of every script
// are fine. Control characters, white space, format characters (zero width, direction), unassigned code points and those
// that draw nothing are not: such a name looks like another one in a log or a console, or splits a header.
func visible(s string, bytesMax int) bool {
	if s == "" || len(s) > bytesMax {
		return false
	}
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c <= ' ' || c == 0x7F {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if !draws(r) {
			return false
		}
		i += size
	}
	return true
}

const brailleBlank = '\u2800' // a symbol by its category, and empty

// draws reports whether a non-ASCII character leaves a mark: unicode.IsPrint, which holds no space but U+0020, without
// the letters and marks that Unicode lists as ignored in display.
func draws(r rune) bool {
	return r != utf8.RuneError && r != brailleBlank && unicode.IsPrint(r) &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// visibleASCII is visible for identifiers of protocol elements, which need no other script.
func visibleASCII(s string, bytesMax int) bool {
	if s == "" || len(s) > bytesMax {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7F {
			return false
		}
	}
	return true
}
