package extauthz

import (
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/ratelimit"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
)

// Reasons of requests beyond a limit.
const (
	reasonOrganizationLimit = "organization_limit"
	reasonAgentLimit        = "agent_limit"
)

// limiter applies Limits. nil limits nothing.
type limiter struct {
	enforce               bool
	organizations, agents *ratelimit.Limiter
	agent                 ratelimit.Limit
	standard              organizationLimit
	named                 map[string]organizationLimit
}

// organizationLimit is what is known of an organization before it calls.
type organizationLimit struct {
	limit  ratelimit.Limit
	quotas *checkresp.Quotas // nil unless they are to be in the metadata
}

func newLimiter(l *settings.Limits, started time.Time, r prometheus.Registerer) (*limiter, error) {
	if l == nil {
		return nil, nil
	}
	m := &limiter{enforce: l.Enforce, organizations: ratelimit.New(started), agents: ratelimit.New(started), named: make(map[string]organizationLimit, len(l.Organizations))}
	if l.Agent != nil {
		m.agent = l.Agent.Limit()
	}
	of := func(limit ratelimit.Limit) organizationLimit {
		o := organizationLimit{limit: limit}
		if l.Metadata && (!limit.IsZero() || !m.agent.IsZero()) {
			o.quotas = checkresp.DescribeQuotas(quota(m.agent), quota(limit))
		}
		return o
	}
	m.standard = of(ratelimit.Limit{})
	if l.Organization != nil {
		m.standard = of(l.Organization.Limit())
	}
	for id, limit := range l.Organizations {
		m.named[id] = of(limit.Limit())
	}
	return m, m.register(r)
}

func (m *limiter) register(r prometheus.Registerer) error {
	for kind, l := range map[string]*ratelimit.Limiter{"organization": m.organizations, "agent": m.agents} {
		buckets := opts("limit_buckets", "Callers whose requests are counted.")
		shared := opts("limit_shared_total", "Requests counted together with those of others, because there are more callers than buckets.")
		buckets.ConstLabels = prometheus.Labels{"limit": kind}
		shared.ConstLabels = buckets.ConstLabels
		err := registerAll(
			r,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts(buckets), func() float64 { n, _ := l.Counts(); return float64(n) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts(shared), func() float64 { _, n := l.Counts(); return float64(n) }),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

// apply counts a request of a verified caller, and concludes the call with 429 when it is one too many. The agent is
// counted first, and only what it may ask for is counted for its organization: one agent that is beyond its own limit
// does not use up the others'.
func (m *limiter) apply(c *call) (limited bool) {
	if m == nil || c.identity == nil {
		return false
	}
	who := c.identity
	of, named := m.named[who.OrganizationID]
	if !named {
		of = m.standard
	}
	c.quotas = of.quotas
	if !m.enforce {
		return false
	}
	if retry, ok := m.agents.Take(who.Issuer, who.Subject, m.agent, c.now); !ok {
		c.limited(reasonAgentLimit, "agent", m.agent, retry)
		return true
	}
	if retry, ok := m.organizations.Take(who.Issuer, who.OrganizationID, of.limit, c.now); !ok {
		c.limited(reasonOrganizationLimit, "organization", of.limit, retry)
		return true
	}
	return false
}

// limited refuses a request that was one too many for a limit.
func (c *call) limited(reason, name string, limit ratelimit.Limit, retry time.Duration) {
	c.deny(resultDenied, reason, checkresp.Denial{
		Status: http.StatusTooManyRequests, Code: reason, Documented: true, Detail: "Too many requests of this " + name + ".",
		Limited: &checkresp.Limited{RetryAfter: seconds(retry), Policy: name, Quota: limit.Burst, Window: seconds(limit.Window())},
	})
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// quota is a rate in the smallest unit of Envoy's in which it is a whole number, or else in requests a day.
func quota(l ratelimit.Limit) checkresp.Quota {
	if l.IsZero() {
		return checkresp.Quota{}
	}
	for _, unit := range []struct {
		name    string
		seconds float64
	}{{"SECOND", 1}, {"MINUTE", 60}, {"HOUR", 3600}} {
		n := math.Round(l.Rate * unit.seconds)
		if n >= 1 && math.Abs(n-l.Rate*unit.seconds) < 1e-6 {
			return checkresp.Quota{Requests: uint32(n), Unit: unit.name}
		}
	}
	return checkresp.Quota{Requests: uint32(min(math.Round(l.Rate*86400), math.MaxUint32)), Unit: "DAY"}
}
