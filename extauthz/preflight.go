package extauthz

import (
	"net/http"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// isPreflight reports whether a request is what a browser sends before a request to another origin (Fetch s4.8): OPTIONS
// with one origin (Envoy joins several by commas) and the method that is to follow, without credentials and without a body.
// Anything more is not a browser's.
func isPreflight(r *checkreq.Request) bool {
	if r.Method != http.MethodOptions || hasBody(r) {
		return false
	}
	for _, name := range []string{"authorization", "cookie", "dpop", "proxy-authorization"} {
		if len(r.Headers.Values(name)) > 0 {
			return false
		}
	}
	origin, hasOrigin := r.Headers.Get("origin")
	method, hasMethod := r.Headers.Get("access-control-request-method")
	return hasOrigin && origin != "" && !strings.ContainsAny(origin, ", ") && hasMethod && isMethod(method)
}

// isMethod accepts the methods browsers are asked for: letters, and hyphens for those of extensions.
func isMethod(s string) bool {
	return s != "" && len(s) <= checkreq.MethodBytesMax && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-") == ""
}
