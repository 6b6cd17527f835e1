// Package plainjson writes JSON where encoding/json is too slow: what it writes is byte for byte what encoding/json would write. It has strings alone, because
// those are where writers go wrong; braces and numbers its users write themselves.
package plainjson

import "unicode/utf8"

const hex = "0123456789abcdef"

// AppendString appends s as json.Encoder does, with SetEscapeHTML as escapeHTML says: quoted, bytes that are no UTF-8 as U+FFFD.
func AppendString(dst []byte, s string, escapeHTML bool) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if plain(c, escapeHTML) {
				i++
				continue
			}
			dst = appendEscaped(append(dst, s[start:i]...), c)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
		case r == '\u2028' || r == '\u2029': // line ends in JavaScript
			dst = append(append(dst, s[start:i]...), `\u202`...)
			dst = append(dst, hex[r&0xf])
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

func plain(c byte, escapeHTML bool) bool {
	switch c {
	case '"', '\\':
		return false
	case '<', '>', '&':
		return !escapeHTML
	}
	return c >= ' '
}

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}
