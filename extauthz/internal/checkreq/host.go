package checkreq

import (
	"net/netip"
	"strings"
)

// hostName returns the name of a host that may have a port, in the one spelling that policies compare: in lower case,
// without a trailing dot, an IPv6 address in its shortest form within brackets, and without the port. Servers choose whom
// a request is for by that name: what they cannot tell apart, a policy must not tell apart either. The port stays in Host.
//
// Refused is what two parsers could read as different names (RFC 3986 s3.2.2 allows most of it):
//
//	user information, escapes, lists, anything but letters, digits and "-._~"  parsers stop at different places
//	empty labels ("a..b", ".a", ".")                                           dropped by some
//	a port that is none, or empty                                              part of the name for some
//	addresses in other forms (127.1, 0x7f.0.0.1, 2130706433, 010.0.0.1)        addresses only for some
//	"[" without an IPv6 address, zones                                         everybody's guess
//
// An empty host is accepted and has no name: HTTP/1.0 has none.
func hostName(host string) (string, bool) {
	if host == "" {
		return "", true
	}
	if len(host) > HostBytesMax {
		return "", false
	}
	if host[0] == '[' {
		return addressName(host[1:])
	}
	name, port, hasPort := strings.Cut(host, ":")
	if hasPort && !isPort(port) {
		return "", false
	}
	name = strings.TrimSuffix(name, ".")
	last := 0 // where the last label begins
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.':
			if i == last {
				return "", false
			}
			last = i + 1
		case !isUnreserved(c):
			return "", false
		}
	}
	if last == len(name) || isNumber(name[last:]) && !isIPv4(name) {
		return "", false
	}
	return strings.ToLower(name), true
}

// addressName is hostName after the opening bracket.
func addressName(s string) (string, bool) {
	inside, port, ok := strings.Cut(s, "]")
	if !ok || port != "" && (port[0] != ':' || !isPort(port[1:])) {
		return "", false
	}
	address, err := netip.ParseAddr(inside)
	if err != nil || !address.Is6() || address.Zone() != "" {
		return "", false
	}
	return "[" + address.String() + "]", true
}

func isPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

// isNumber reports whether a last label makes some parsers read the name as an address: digits, or hexadecimal ones.
func isNumber(label string) bool {
	digits := label[0] >= '0' && label[0] <= '9'
	if digits && len(label) > 1 && (label[1] == 'x' || label[1] == 'X') {
		for i := 2; i < len(label); i++ {
			if _, ok := hexDigit(label[i]); !ok {
				return false
			}
		}
		return true
	}
	for i := range len(label) {
		digits = digits && label[i] >= '0' && label[i] <= '9'
	}
	return digits
}

func isIPv4(s string) bool {
	address, err := netip.ParseAddr(s)
	return err == nil && address.Is4()
}
