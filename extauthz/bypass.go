package extauthz

import (
	"fmt"
	"net/http"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/internal/config"
)

// CORS says what becomes of a browser's preflight, which carries no credential and cannot.
type CORS struct {
	Preflight Preflight `yaml:"preflight"`
}

// Preflight is who answers preflights, if not Envoy before it asks us.
type Preflight string

const (
	PreflightOff     Preflight = "off"     // a preflight is a request like any other: it needs an identity
	PreflightPolicy  Preflight = "policy"  // asked of the policy without an identity
	PreflightService Preflight = "service" // passes to the service; the policy is not asked
)

// HealthRoute is one request that passes to the service without being decided about: this method, this path, nothing else.
type HealthRoute struct {
	Method string `yaml:"method"` // GET or HEAD
	Path   string `yaml:"path"`   // all of it; a query is another path
}

const healthRoutesMax = 10

// Reasons for which a request passes without being decided about.
const (
	reasonHealth    = "health"
	reasonPreflight = "preflight"
)

// SetDefaults implements the defaults of the config file.
func (c *CORS) SetDefaults() { c.Preflight = PreflightOff }

func (c *Config) validateBypasses(r *config.Report) {
	switch c.CORS.Preflight {
	case "", PreflightOff, PreflightPolicy, PreflightService:
	default:
		r.Errorf("cors.preflight", "want off, policy or service")
	}
	if len(c.Health) > healthRoutesMax {
		r.Errorf("health", "has %d entries, at most %d are accepted", len(c.Health), healthRoutesMax)
	}
	for i, h := range c.Health {
		field := fmt.Sprintf("health[%d]", i)
		if h.Method != http.MethodGet && h.Method != http.MethodHead {
			r.Errorf(field+".method", "want GET or HEAD: what changes something is decided about")
		}
		if !isPlainPath(h.Path) {
			r.Errorf(field+".path", "want a path such as /healthz, without query, escapes, // or dot segments")
		}
	}
}

// bypass is why a request passes without being decided about, "" when it does not. The target is compared whole, as it goes
// to the service: there is nothing in it that could be read as another.
func (s *Server) bypass(r *checkreq.Request) string {
	for _, h := range s.options.Health {
		if r.Method == h.Method && r.Target == h.Path && !hasBody(r) {
			return reasonHealth
		}
	}
	if s.options.CORS.Preflight == PreflightService && isPreflight(r) {
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
