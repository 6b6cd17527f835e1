package checkreq

import (
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Header is one field as it came; the name is in lower case.
type Header struct{ Name, Value string }

// Headers are sorted by name; fields of one name keep their order.
type Headers []Header

// Values returns the fields of one lower-case name.
func (h Headers) Values(name string) Headers {
	first := sort.Search(len(h), func(i int) bool { return h[i].Name >= name })
	last := first
	for last < len(h) && h[last].Name == name {
		last++
	}
	return h[first:last]
}

// Get returns the value of a header that came exactly once.
func (h Headers) Get(name string) (string, bool) {
	if fields := h.Values(name); len(fields) == 1 {
		return fields[0].Value, true
	}
	return "", false
}

// Joined calls f for each name once, with its values joined by "," as Envoy joins them when it does not send them raw.
func (h Headers) Joined(f func(name, value string)) {
	for len(h) > 0 {
		n := len(h.Values(h[0].Name))
		f(h[0].Name, h[:n].joined())
		h = h[n:]
	}
}

// joined are the values of fields of one name. Each is copied once, however many a stranger sends.
func (h Headers) joined() string {
	if len(h) == 1 {
		return h[0].Value
	}
	values := make([]string, 0, HeadersMax)
	for _, field := range h {
		values = append(values, field.Value)
	}
	return strings.Join(values, ",")
}

// single are the headers of which the upstream would have to choose one if there were two (or of which choosing the wrong
// one hands over an identity). Pseudo headers are single too.
var single = map[string]bool{
	"authorization": true, "proxy-authorization": true, "dpop": true, "host": true, "content-length": true, "content-type": true,
	"transfer-encoding": true, "x-forwarded-client-cert": true, "x-forwarded-proto": true, "x-forwarded-host": true,
	"x-request-id": true, "x-envoy-auth-partial-body": true, "x-envoy-original-path": true, "origin": true,
}

// pseudo are the pseudo headers a request can have (RFC 9113 s8.3.1, RFC 8441).
var pseudo = map[string]bool{":method": true, ":path": true, ":scheme": true, ":authority": true, ":protocol": true}

// overrides make some frameworks act on another target or method than the one in the request line, hence than the one
// the policy decided on. Their names are folded as in fold.
var overrides = map[string]bool{
	"x-original-url": true, "x-rewrite-url": true, "x-original-uri": true, "x-original-path": true,
	"x-http-method": true, "x-http-method-override": true, "x-method-override": true,
}

// identityPrefix begins every header this sidecar speaks with to the upstream. Nobody else may.
const identityPrefix = "x-agent"

// readHeaders merges both forms Envoy has, so that a header in one and again in the other is seen as what it is: two.
func (r *Request) readHeaders(in *received) *Refusal {
	if in.headerCount > HeadersMax {
		return refuse(ReasonLimit, "more than 100 headers")
	}
	if in.valueTwice {
		return refuse(ReasonConflict, "a header has two values in one field")
	}
	all, bytes := in.headers, 0
	for i := range all {
		bytes += len(all[i].Name) + len(all[i].Value)
	}
	if bytes > HeaderBytesMax {
		return refuse(ReasonLimit, "more than 60 KiB of headers")
	}
	for i := range all {
		if !isFieldName(all[i].Name) {
			return refuse(ReasonHeader, "a header name is not a token")
		}
		if !isFieldValue(all[i].Value) {
			return refuse(ReasonHeader, "a header value has control characters or is not UTF-8")
		}
		all[i].Name = strings.ToLower(all[i].Name)
	}
	// A map has each name once, and Envoy's names are in lower case: what comes twice in it, Envoy did not send.
	named := all[:in.named]
	sortByName(named)
	twice := hasTwice(named, func(Header) bool { return true })
	if in.named < len(all) {
		sortByName(all)
		twice = twice || hasTwice(all, func(h Header) bool { return h.Name[0] == ':' || single[h.Name] })
	}
	if twice {
		return refuse(ReasonDuplicate, "a header that must be single came more than once")
	}
	return r.keep(all)
}

func sortByName(h Headers) {
	slices.SortStableFunc(h, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
}

// hasTwice reports whether a name for which must is true comes more than once in sorted headers.
func hasTwice(sorted Headers, must func(Header) bool) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Name == sorted[i-1].Name && must(sorted[i]) {
			return true
		}
	}
	return false
}

// keep separates what the policy and the upstream may see from what neither may.
func (r *Request) keep(all Headers) *Refusal {
	r.Headers = all[:0]
	for _, h := range all {
		folded := fold(h.Name)
		switch {
		case strings.HasPrefix(folded, identityPrefix) || overrides[folded]:
			if len(r.Strip) == 0 || r.Strip[len(r.Strip)-1] != h.Name {
				r.Strip = append(r.Strip, h.Name)
			}
		case h.Name == "connection" && nominates(h.Value):
			// RFC 9110 s7.6.1: an intermediary behind us would drop the header named here, ours included.
			return refuse(ReasonHeader, "the connection header names a header that carries identity")
		default:
			r.Headers = append(r.Headers, h)
		}
	}
	return nil
}

func nominates(connection string) bool {
	for option := range strings.SplitSeq(connection, ",") {
		name := fold(strings.ToLower(strings.Trim(option, " \t")))
		if strings.HasPrefix(name, identityPrefix) || name == "authorization" {
			return true
		}
	}
	return false
}

// fold maps the spellings a CGI-like upstream cannot tell apart to one: in HTTP_X_AGENT_ID a hyphen and an underscore are the same, and for
// some runtimes whatever else is no letter or digit (RFC 3875 s4.1.18 names the hyphen alone).
func fold(name string) string { return strings.Map(foldRune, name) }

func foldRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == ':' { // a colon begins the name of a pseudo header, and no other
		return r
	}
	return '-'
}

// isFieldName accepts an RFC 9110 token, or a known pseudo header.
func isFieldName(s string) bool {
	if len(s) > HeaderNameBytesMax {
		return false
	}
	return isToken(s) || pseudo[s]
}

// isFieldValue accepts RFC 9110 field content that is UTF-8: no control character but tab.
func isFieldValue(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; fieldCharacters[c] {
			continue
		} else if c < 0x80 {
			return false
		}
		ascii = false
	}
	return ascii || utf8.ValidString(s)
}

// fieldCharacters are the ASCII characters of field content.
var fieldCharacters = func() (set [256]bool) {
	set['\t'] = true
	for c := ' '; c < 0x7f; c++ {
		set[c] = true
	}
	return set
}()

// isToken is RFC 9110 s5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || !tokenCharacters[c] {
			return false
		}
	}
	return s != ""
}

var tokenCharacters = func() (set [0x80]bool) {
	for c := range set {
		b := byte(c)
		set[c] = isUnreserved(b) || strings.IndexByte("!#$%&'*+^`|", b) >= 0
	}
	return set
}()

func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
