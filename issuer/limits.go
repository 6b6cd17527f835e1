package issuer

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/adminapi"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
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

// parseProxies reads trustedProxies: networks, or single addresses.
func parseProxies(list []string) (proxies []netip.Prefix, wrong int) {
	for n, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addressErr := netip.ParseAddr(text)
			if addressErr != nil || a.Zone() != "" {
				return nil, n
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, -1
}

// caches are what an instance remembers between requests, and how it hears that it must not.
type caches struct {
	*postgres.Store // limits of organizations
	follower        *postgres.Follower
	agents          *changecache.Cache[agentid.Agent, agents.CachedClient]
	limits          *changecache.Cache[agentid.Organization, ratelimit.OrganizationLimits]
}

var (
	_ orgs.LimitsStore        = (*caches)(nil)
	_ ratelimit.Organizations = (*caches)(nil)
)

func newCaches(store *postgres.Store, env Environment) *caches {
	c := &caches{Store: store}
	fresh := func() bool { return c.follower.Fresh() }
	c.agents = changecache.New[agentid.Agent, agents.CachedClient](agents.CacheEntriesMax, agents.CacheLife, fresh, env.Now)
	c.limits = changecache.New[agentid.Organization, ratelimit.OrganizationLimits](agents.CacheEntriesMax, agents.CacheLife, fresh, env.Now)
	c.follower = store.NewFollower(postgres.Changes{
		Agent: c.agents.Forget, Organization: c.limits.Forget, All: func() { c.agents.ForgetAll(); c.limits.ForgetAll() },
	}, env.Log)
	return c
}

// LimitsOf implements ratelimit.Organizations. When they cannot be read those of the instance hold; then no token can be recorded either.
func (c *caches) LimitsOf(ctx context.Context, id agentid.Organization) ratelimit.OrganizationLimits {
	if known, ok := c.limits.Get(id); ok {
		return known
	}
	mark := c.limits.Mark()
	l, err := c.OrganizationLimits(ctx, id)
	if err != nil {
		return ratelimit.OrganizationLimits{}
	}
	own := ratelimit.OrganizationLimits{Organization: l.Organization, Client: l.Client}
	c.limits.Put(mark, id, own)
	return own
}

// PutOrganizationLimits implements orgs.LimitsStore. This instance forgets at once.
func (c *caches) PutOrganizationLimits(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, l orgs.Limits) (orgs.Limits, error) {
	defer c.limits.Forget(id)
	return c.Store.PutOrganizationLimits(ctx, actor, id, version, l)
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

// administrators lets the holder of the admin token in. A wrong token is a failure of its source; a request without one tries nothing.
func administrators(guard *adminapi.Guard, gate *ratelimit.Gate) func(*http.Request) (context.Context, error) {
	return func(r *http.Request) (context.Context, error) {
		if err := gate.Admit(r.Context(), ""); err != nil {
			return nil, ratelimit.Problem(err)
		}
		ctx, err := guard.Authenticate(r)
		if err != nil && len(r.Header.Values("Authorization")) != 0 {
			gate.Failed(r.Context(), "")
		}
		return ctx, err
	}
}
