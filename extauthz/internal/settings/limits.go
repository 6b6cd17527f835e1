package settings

import (
	"maps"
	"slices"

	"github.com/agentidp/agentidp/extauthz/internal/ratelimit"
	"github.com/agentidp/agentidp/internal/config"
)

// Limits are how many requests verified callers may make. They count in this process; whoever needs one count for all
// sidecars lets Envoy ask a rate limit service, with what Metadata says.
type Limits struct {
	Organization  *RateLimit           `yaml:"organization"`  // of each that Organizations does not name; nil limits none
	Organizations map[string]RateLimit `yaml:"organizations"` // by organization id
	Agent         *RateLimit           `yaml:"agent"`         // of each agent; nil limits none
	Enforce       bool                 `yaml:"enforce"`       // here
	Metadata      bool                 `yaml:"metadata"`      // the limits are in the dynamic metadata of each OK
}

// RateLimit is a token bucket.
type RateLimit struct {
	Rate  float64 `yaml:"rate"`  // requests a second
	Burst int     `yaml:"burst"` // requests at once
}

// SetDefaults implements the defaults of the config file.
func (l *Limits) SetDefaults() { l.Enforce = true }

// Limit is the bucket as ratelimit knows it.
func (l RateLimit) Limit() ratelimit.Limit { return ratelimit.Limit{Rate: l.Rate, Burst: l.Burst} }

func (c *Config) validateLimits(r *config.Report) {
	l := c.Limits
	if l == nil {
		return
	}
	if c.Identity == IdentityPolicy {
		r.Errorf("limits", "need an identity: with identity: policy nobody here knows who calls")
	}
	if l.Organization == nil && l.Agent == nil && len(l.Organizations) == 0 {
		r.Errorf("limits", "want at least one of organization, organizations and agent")
	}
	if !l.Enforce && !l.Metadata {
		r.Errorf("limits.enforce", "is false, and metadata is too: then nothing is done with the limits")
	}
	if len(l.Organizations) > organizationsMax {
		r.Errorf("limits.organizations", "has %d entries, at most %d are accepted", len(l.Organizations), organizationsMax)
	}
	check := func(field string, limit RateLimit) {
		if err := limit.Limit().Validate(); err != nil {
			r.Errorf(field, "%v", err)
		}
	}
	if l.Organization != nil {
		check("limits.organization", *l.Organization)
	}
	if l.Agent != nil {
		check("limits.agent", *l.Agent)
	}
	for _, id := range slices.Sorted(maps.Keys(l.Organizations)) {
		field := "limits.organizations." + id
		if err := checkIdentifier(id); err != nil {
			r.Errorf("limits.organizations", "%q: %v", id, err)
			continue
		}
		check(field, l.Organizations[id])
	}
}
