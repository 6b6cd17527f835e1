package issuer

import (
	"net/http"
	"slices"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// Limits are how many requests the endpoints take. docs/limits.md says what they are counted by.
type Limits struct {
	Client       RateLimit `yaml:"client"`       // of each client
	Source       RateLimit `yaml:"source"`       // of each IPv4 address and each IPv6 /64
	Organization RateLimit `yaml:"organization"` // of each organization that has none of its own
	Instance     RateLimit `yaml:"instance"`     // of all together

	FailuresOfClient   RateLimit `yaml:"failuresOfClient"` // failed authentications of one client from one source
	FailuresOfSource   RateLimit `yaml:"failuresOfSource"`
	FailuresOfInstance RateLimit `yaml:"failuresOfInstance"`

	Documents           RateLimit `yaml:"documents"` // metadata, keys, revocation lists: of each source, at each process
	DocumentsOfInstance RateLimit `yaml:"documentsOfInstance"`

	// Redis has the counts of all instances: redis://, rediss:// or unix://. Without it each instance counts for itself.
	Redis config.Secret `yaml:"redis"`
}

// RateLimit is a rate and how many requests may come at once.
type RateLimit struct {
	PerMinute int64 `yaml:"perMinute"`
	Burst     int64 `yaml:"burst"`
}

func (l RateLimit) limit() ratelimit.Limit { return ratelimit.Limit(l) }

func (l *Limits) setDefaults() {
	d := ratelimit.Defaults()
	*l = Limits{
		Client: RateLimit(d.Client), Source: RateLimit(d.Source), Organization: RateLimit(d.Organization), Instance: RateLimit(d.Instance),
		FailuresOfClient: RateLimit(d.FailuresOfClient), FailuresOfSource: RateLimit(d.FailuresOfSource), FailuresOfInstance: RateLimit(d.FailuresOfInstance),
		Documents: RateLimit(d.Documents), DocumentsOfInstance: RateLimit(d.DocumentsOfInstance),
	}
}

func (l *Limits) limits() ratelimit.Limits {
	return ratelimit.Limits{
		Client: l.Client.limit(), Source: l.Source.limit(), Organization: l.Organization.limit(), Instance: l.Instance.limit(),
		FailuresOfClient: l.FailuresOfClient.limit(), FailuresOfSource: l.FailuresOfSource.limit(), FailuresOfInstance: l.FailuresOfInstance.limit(),
		Documents: l.Documents.limit(), DocumentsOfInstance: l.DocumentsOfInstance.limit(),
	}
}

func (l *Limits) validate(r *config.Report) {
	for _, named := range []struct {
		field string
		RateLimit
	}{
		{"client", l.Client},
		{"source", l.Source},
		{"organization", l.Organization},
		{"instance", l.Instance},
		{"failuresOfClient", l.FailuresOfClient},
		{"failuresOfSource", l.FailuresOfSource},
		{"failuresOfInstance", l.FailuresOfInstance},
		{"documents", l.Documents},
		{"documentsOfInstance", l.DocumentsOfInstance},
	} {
		if err := named.limit().Validate(); err != nil {
			r.Errorf("limits."+named.field, "%v", err)
		}
	}
	if l.Redis.IsSet() {
		if err := ratelimit.CheckURL(l.Redis.Reveal()); err != nil {
			r.Errorf("limits.redis", "%v", err)
		}
	}
}

// documents are the operations that give everybody the same, and cost little. A test holds them against the contract.
var documents = []string{
	"getOpenIDConfiguration", "getAuthorizationServerMetadata", "getKeySet", "getRevocations", "getContract", "getOrganizationOpenIDConfiguration",
	"getOrganizationAuthorizationServerMetadata", "getOrganizationKeySet", "getOrganizationRevocations",
}

// limited puts the gate before every route: before anybody is authenticated, and before it is looked up whose issuer the path names.
func limited(gate *ratelimit.Gate) func(web.Route, http.HandlerFunc) http.HandlerFunc {
	return func(route web.Route, next http.HandlerFunc) http.HandlerFunc {
		switch {
		case slices.Contains(documents, route.Name):
			return gate.ProtectDocument(next)
		case route.Protected:
			return gate.Protect(ratelimit.AsProblem, next)
		}
		return gate.Protect(ratelimit.AsOAuth, next)
	}
}
