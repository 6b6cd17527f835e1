package issuer

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// caches are what an instance remembers between requests, and how it hears that it must not.
type caches struct {
	*postgres.Store // limits of organizations
	follower        *postgres.Follower
	agents          *changecache.Cache[agentid.Agent, agents.CachedClient]
	limits          *changecache.Cache[agentid.Organization, ratelimit.OrganizationLimits]
	issuers         *issuers.Set // set before anything is heard
}

var (
	_ orgs.Store              = (*caches)(nil)
	_ orgs.LimitsStore        = (*caches)(nil)
	_ ratelimit.Organizations = (*caches)(nil)
)

func newCaches(store *postgres.Store, env Environment) *caches {
	c := &caches{Store: store}
	fresh := func() bool { return c.follower.Fresh() }
	c.agents = changecache.New[agentid.Agent, agents.CachedClient](agents.CacheEntriesMax, agents.CacheLife, fresh, env.Now)
	c.limits = changecache.New[agentid.Organization, ratelimit.OrganizationLimits](agents.CacheEntriesMax, agents.CacheLife, fresh, env.Now)
	c.follower = store.NewFollower(postgres.Changes{
		Agent: c.agents.Forget, Organization: c.forget, All: func() { c.agents.ForgetAll(); c.limits.ForgetAll() },
	}, env.Log)
	return c
}

// forget an organization that changed, or its limits.
func (c *caches) forget(id agentid.Organization) {
	c.limits.Forget(id)
	c.issuers.Forget(id)
}

// DeleteOrganization implements orgs.Store. This instance forgets at once.
func (c *caches) DeleteOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64) error {
	defer c.forget(id)
	return c.Store.DeleteOrganization(ctx, actor, id, version)
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
