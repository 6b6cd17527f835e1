package extauthz

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
)

// dryRun is a policy that is asked, logged and counted, and whose denials are not enforced (policy.dryRun). It exists to
// put a policy in front of traffic that had none, and see.
//
// It concerns the policy alone. A request that two parsers could read differently is still refused, and so are a missing
// token (unless identity says otherwise), a bad and a revoked one: the service is told who calls by headers it trusts, and
// no rehearsal may make those lie. What the sidecar cannot do at all (no policy loaded, a panic, the deadline) is still 503.
type dryRun struct {
	overruled prometheus.Counter
}

// newDryRun returns nil when decisions are enforced. The gauge is there in either case, so that an alert can watch it.
func newDryRun(o Options) (*dryRun, error) {
	inForce := prometheus.NewGauge(prometheus.GaugeOpts(opts("dry_run", "1 while the policy's denials are not enforced.")))
	collectors := []prometheus.Collector{inForce}
	var d *dryRun
	if o.DryRun {
		d = &dryRun{prometheus.NewCounter(prometheus.CounterOpts(opts("dry_run_overruled_total", "Requests that passed only because of the dry run.")))}
		inForce.Set(1)
		collectors = append(collectors, d.overruled)
	}
	return d, registerAll(o.Registerer, collectors...)
}

// overrule answers OK to a call the policy denied, or could not decide; result and reason stay what the policy made them.
// None of the policy's changes are applied then: they were meant for a denial.
func (d *dryRun) overrule(c *call) {
	if d == nil || c.answer.Allowed() {
		return
	}
	c.answer = checkresp.Allow(checkresp.Grant{DecisionID: c.id, Caller: c.identity.Caller(), Strip: c.request.Strip, Quotas: c.quotas, Nonce: c.nonce})
	c.overruled = true
	d.overruled.Inc()
}
