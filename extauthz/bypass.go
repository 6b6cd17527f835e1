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
		if r.Method == h.Method && r.Target == h.Path && !hasBody(r) {
			return reasonHealth
		}
	}
	if s.options.CORS.Preflight == settings.PreflightService && isPreflight(r) {
		return reasonPreflight
	}
	return ""
}

// pass lets a request through that was not decided about. The service is told of no caller, and gets no credential that it
// could take for verified.
func (c *call) pass(reason string) checkresp.Answer {
	var changes checkresp.Changes
	for _, name := range []string{"authorization", "dpop", "proxy-authorization"} {
		if len(c.request.Headers.Values(name)) == 0 {
			continue
		}
		if err := changes.RemoveHeader(name); err != nil {
			return c.giveUp(reasonPanic, err)
		}
	}
	c.answer = checkresp.Allow(checkresp.Grant{DecisionID: c.id, Strip: c.request.Strip, Changes: changes})
	c.result, c.reason, c.status = resultAllowed, reason, 0
	return c.answer
}

// hasBody reports whether a request says, or shows, that it has a body. Of one in chunks, or in HTTP/2 without a length,
// Envoy tells nothing unless it is configured to send bodies (seen with 1.40.0).
func hasBody(r *checkreq.Request) bool {
	if len(r.Body) > 0 || len(r.Headers.Values("transfer-encoding")) > 0 {
		return true
	}
	length := r.Headers.Values("content-length")
	return len(length) > 0 && length[0].Value != "0"
}

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
