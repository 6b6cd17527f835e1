package checkreq

import (
	"strings"
	"unicode/utf8"
)

// splitPath returns the path's segments, each decoded once, or refuses a path that two parsers could read differently.
// path starts with "/". What is refused and why (each has brought down somebody's path rules):
//
//	bytes that are not visible ASCII, "\", "#"    parsers cut, convert or merge them
//	";"                                           path parameters are dropped by some (/admin;x, /..;/admin)
//	"//"                                          merged by some, an authority or an empty segment for others
//	"." and ".." segments                         removed by some
//	%2F %5C %3B %00 and other control characters  separators and terminators once decoded
//	an escaped unreserved character (%2E, %61)    equal to the plain one by RFC 3986 s6.2.2.2, but not byte for byte
//	%25 and two hex digits (%252e)                an escape again for whoever decodes twice
//	escapes that are no escapes or no UTF-8       everybody's guess
//
// The segments are appended to segments.
func splitPath(path string, segments []string) ([]string, *Refusal) {
	rest, last := path[1:], false
	for !last {
		segment, after, more := strings.Cut(rest, "/")
		rest, last = after, !more
		if segment == "" && !last {
			return nil, refuse(ReasonPath, "the path has an empty segment")
		}
		if segment == "." || segment == ".." {
			return nil, refuse(ReasonPath, "the path has a dot segment")
		}
		decoded, refusal := decodeSegment(segment)
		if refusal != nil {
			return nil, refusal
		}
		segments = append(segments, decoded)
	}
	return segments, nil
}

func decodeSegment(s string) (string, *Refusal) {
	escapes := false
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f:
			return "", refuse(ReasonPath, "the path has a character that must be percent-encoded")
		case c == '\\' || c == '#' || c == ';':
			return "", refuse(ReasonPath, "the path has a backslash, a number sign or a semicolon")
		case c == '%':
			escapes = true
		}
	}
	if !escapes {
		return s, nil
	}
	var decoded strings.Builder
	decoded.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			decoded.WriteByte(s[i])
			continue
		}
		c, ok := unescape(s[i:])
		if !ok {
			return "", refuse(ReasonPath, "the path has an incomplete percent escape")
		}
		if c == '%' && startsEscape(s[i+3:]) {
			return "", refuse(ReasonPath, "the path has a percent escape that is escaped again")
		}
		if isUnreserved(c) || c == '/' || c == '\\' || c == ';' || c < 0x20 || c == 0x7f {
			return "", refuse(ReasonPath, "the path has a percent escape of a character that must not be escaped")
		}
		decoded.WriteByte(c)
		i += 2
	}
	if !utf8.ValidString(decoded.String()) {
		return "", refuse(ReasonPath, "the path does not decode to UTF-8")
	}
	return decoded.String(), nil
}

// checkQuery refuses what Parameters could not read. Unlike a path, a query is opaque to routers, so any escaped character
// is accepted but NUL, as long as the result is UTF-8. An unescaped ";" is refused: it separates pairs for some parsers.
func checkQuery(query string) *Refusal {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' || c == ';' || c == '\\' {
			return refuse(ReasonQuery, "the query has a character that must be percent-encoded")
		}
	}
	if !eachParameter(query, func(string, string) {}) {
		return refuse(ReasonQuery, "the query does not decode to UTF-8")
	}
	return nil
}

// eachParameter reads name=value pairs separated by "&" (the form encoding: "+" is a space); false when one does not decode.
func eachParameter(query string, f func(name, value string)) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, okName := decodeQuery(rawName)
		value, okValue := decodeQuery(rawValue)
		if !okName || !okValue {
			return false
		}
		f(name, value)
	}
	return true
}

// Parameters is the query decoded; nil without query. It is read anew at each call: few policies ask.
func (r *Request) Parameters() map[string][]string {
	if len(r.Path) == len(r.Target) {
		return nil
	}
	parameters := make(map[string][]string)
	eachParameter(r.Query, func(name, value string) { parameters[name] = append(parameters[name], value) })
	return parameters
}

// HasParameter reports whether the query has a parameter of that name, in whatever spelling.
func (r *Request) HasParameter(name string) bool {
	found := false
	if r.Query != "" {
		eachParameter(r.Query, func(n, _ string) { found = found || n == name })
	}
	return found
}

func decodeQuery(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			var ok bool
			if c, ok = unescape(s[i:]); !ok || c == 0 {
				return "", false
			}
			i += 2
		}
		decoded = append(decoded, c)
	}
	return string(decoded), utf8.Valid(decoded)
}

// unescape reads the escape s starts with.
func unescape(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, ok1 := hexDigit(s[1])
	low, ok2 := hexDigit(s[2])
	return high<<4 | low, ok1 && ok2
}

// startsEscape reports whether s would complete an escape after a percent sign.
func startsEscape(s string) bool {
	if len(s) < 2 {
		return false
	}
	_, ok1 := hexDigit(s[0])
	_, ok2 := hexDigit(s[1])
	return ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// isUnreserved is RFC 3986 s2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
