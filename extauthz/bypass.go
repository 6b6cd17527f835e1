package extauthz

import (
	"net/http"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
)

// Reasons for which a request passes without being decided about.
const (
	reasonHealth    = "health"
	reasonPreflight = "preflight"
)

// bypass is why a request passes without being decided about, "" when it does not. The target is compared whole, as it goes
// to the service: there is nothing in it that could be read as another.
func (s *Server) bypass(r *checkreq.Request) string {
	for _, h := range s.options.Health {
		if r.Method == h.Method && r.Target == h.Path && isWhole(r) {
			return reasonHealth
		}
	}
	if s.options.CORS.Preflight == settings.PreflightService && isPreflight(r) {
		return reasonPreflight
	}
	return ""
}

// pass lets a request through that was not decided about. The service is told of no caller.
func (c *call) pass(reason string) checkresp.Answer {
	withholdCredentials(c.request)
	c.answer = checkresp.Allow(checkresp.Grant{DecisionID: c.id, Strip: c.request.Strip})
	c.result, c.reason, c.status = resultAllowed, reason, 0
	return c.answer
}

// credentials are the headers that a service could take for verified.
var credentials = [...]string{"authorization", "dpop", "proxy-authorization"}

// withholdCredentials keeps credentials from the service that nobody verified.
func withholdCredentials(r *checkreq.Request) {
	for _, name := range credentials {
		if len(r.Headers.Values(name)) > 0 {
			r.Withhold(name)
		}
	}
}

// isWhole reports whether a request is all there is to come: it neither says nor shows that it has a body, and asks for no other protocol after
// it (RFC 9110 s7.8, RFC 8441 s4, RFC 7540 s3.2), through which more would pass that nobody decided about. Of a body in chunks, or in HTTP/2 without
// a length, Envoy tells nothing unless it is configured to send bodies (seen with 1.40.0).
func isWhole(r *checkreq.Request) bool {
	if len(r.Body) > 0 || r.Size > 0 {
		return false
	}
	for _, name := range [...]string{"transfer-encoding", "upgrade", ":protocol", "http2-settings"} {
		if len(r.Headers.Values(name)) > 0 {
			return false
		}
	}
	length := r.Headers.Values("content-length")
	return len(length) == 0 || length[0].Value == "0"
}

// isPreflight reports whether a request is what a browser sends before a request to another origin (Fetch s4.8): OPTIONS
// with one origin (Envoy joins several by commas) and the method that is to follow, without credentials, a body or another protocol to
// follow. Anything more is not a browser's.
func isPreflight(r *checkreq.Request) bool {
	if r.Method != http.MethodOptions || !isWhole(r) || len(r.Headers.Values("cookie")) > 0 {
		return false
	}
	for _, name := range credentials {
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
