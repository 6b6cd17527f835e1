package settings

import (
	"fmt"
	"net/http"
	"strings"

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

// Matches compares whole segments: /healthz covers /healthz and /healthz/db, not /healthzzz. The path is the one checkreq
// accepted, in which no two spellings name the same segment.
func (p PublicRoute) Matches(method, path string) bool {
	if method != p.Method || !strings.HasPrefix(path, p.PathPrefix) || p.PathPrefix == "" {
		return false
	}
	return len(path) == len(p.PathPrefix) || strings.HasSuffix(p.PathPrefix, "/") || path[len(p.PathPrefix)] == '/'
}
