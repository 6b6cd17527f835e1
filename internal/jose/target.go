package jose

import "strings"

// Targets reports whether htu of the proof names this http or https URI: RFC 9449 s4.3, check 9. Query and fragment are left out on both sides, and what RFC 3986 s6.2.2 and s6.2.3 call another
// spelling of the same is the same: case of scheme, host and escapes, escaped unreserved characters, dot segments, a port that is the scheme's own or empty, an empty path. A URI that names
// somebody before its host, or that two readers could read differently, names nothing.
func (p *Proof) Targets(uri string) bool {
	named, ok := readTarget(p.URI)
	if !ok {
		return false
	}
	actual, ok := readTarget(uri)
	return ok && named == actual
}

// target is what of a URI counts, in one spelling.
type target struct{ scheme, host, port, path string }

func readTarget(uri string) (t target, ok bool) {
	uri, _, _ = strings.Cut(uri, "#")
	uri, _, _ = strings.Cut(uri, "?")
	scheme, rest, ok := strings.Cut(uri, "://")
	t.scheme = strings.ToLower(scheme)
	if !ok || t.scheme != "http" && t.scheme != "https" {
		return target{}, false
	}
	authority := rest
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		authority, t.path = rest[:slash], rest[slash:]
	}
	if t.host, t.port, ok = readAuthority(authority); !ok {
		return target{}, false
	}
	if t.scheme == "https" && t.port == "443" || t.scheme == "http" && t.port == "80" {
		t.port = ""
	}
	t.path, ok = readPath(t.path)
	return t, ok
}

// readAuthority knows names and addresses as they are called in practice. Whatever else RFC 3986 s3.2 allows (somebody's name and password, escapes in a name) is read differently by different
// readers.
func readAuthority(s string) (host, port string, ok bool) {
	host = s
	if strings.HasPrefix(s, "[") { // an IPv6 address
		end := strings.IndexByte(s, ']') + 1
		if host, s = s[:end], s[end:]; !only(host, "[]:.") || len(host) < len("[::]") || s != "" && s[0] != ':' {
			return "", "", false
		}
		port = strings.TrimPrefix(s, ":")
	} else if host, port, _ = strings.Cut(s, ":"); host == "" || !only(host, "-._~") {
		return "", "", false
	}
	for _, c := range []byte(port) {
		if c < '0' || c > '9' {
			return "", "", false
		}
	}
	return strings.ToLower(host), port, true
}

// only reports whether s has letters, digits and these.
func only(s, others string) bool {
	for _, c := range []byte(s) {
		if !alphanumeric(c) && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }

// readPath brings escapes into one spelling first, so that an escaped dot is the dot it is to everybody else, and then takes the dot segments out (RFC 3986 s5.2.4).
func readPath(s string) (string, bool) {
	if s == "" {
		return "/", true
	}
	unescaped, ok := readEscapes(s)
	if !ok {
		return "", false
	}
	segments := strings.Split(unescaped[1:], "/")
	kept := segments[:0]
	for n, segment := range segments {
		last := n == len(segments)-1
		switch {
		case segment != "." && segment != "..":
			kept = append(kept, segment)
			continue
		case segment == ".." && len(kept) > 0:
			kept = kept[:len(kept)-1]
		}
		if last { // the path ends in a slash
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/"), true
}

// readEscapes is RFC 3986 s6.2.2.1 and s6.2.2.2. A backslash is a slash to some, and a percent sign that begins no escape is anybody's guess.
func readEscapes(s string) (string, bool) {
	if strings.IndexByte(s, '\\') >= 0 {
		return "", false
	}
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		high, low := hexDigit(s[i+1]), hexDigit(s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		if c := byte(high<<4 | low); alphanumeric(c) || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[high], digits[low])
		}
		i += 2
	}
	return string(b), true
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
