package possession

import (
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// sameURI compares htu with the URI Envoy received, without its query (RFC 9449 s4.3, check 9). Scheme and host ignore
// case and the default port may be left out (RFC 3986 s6.2.2.1, s6.2.3); nothing else may differ: the path is one that
// has one spelling, because checkreq refuses every other. A query or fragment in htu is a difference.
func sameURI(htu string, r *checkreq.Request) bool {
	scheme, rest, ok := strings.Cut(htu, "://")
	if !ok || r.Scheme == "" || r.Host == "" || !strings.EqualFold(scheme, r.Scheme) {
		return false
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 || rest[slash:] != r.Path {
		return false
	}
	return strings.EqualFold(withoutDefaultPort(rest[:slash], r.Scheme), withoutDefaultPort(r.Host, r.Scheme))
}

func withoutDefaultPort(authority, scheme string) string {
	if scheme == "https" {
		return strings.TrimSuffix(authority, ":443")
	}
	return strings.TrimSuffix(authority, ":80")
}
