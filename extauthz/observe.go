package extauthz

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/explain"
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
	"github.com/agentidp/agentidp/extauthz/internal/shadow"
	"github.com/agentidp/agentidp/internal/obs"
)

// observers look at decisions once they are made.
type observers struct {
	explain             *explain.Recorder // nil when off, as is shadow
	shadow              *shadow.Shadow
	organizationShadows map[string]*shadow.Shadow // candidates for the own policies of organizations, by organization
	feeds               []feed.Feed               // of the candidates
	tracer              *obs.Tracer               // nil when off
}

func openObservers(ctx context.Context, cfg *Config, env *feed.Env, log *decisionlog.Log, organizations *orgpolicy.Set, r prometheus.Registerer) (*observers, error) {
	tracer, err := openTracer(cfg.Tracing, env, r)
	if err != nil {
		return nil, err
	}
	o := &observers{tracer: tracer}
	if cfg.Explain != nil {
		var mask []string
		if cfg.DecisionLog != nil {
			mask = cfg.DecisionLog.Mask
		}
		o.explain = explain.New(int64(cfg.Explain.Bytes), mask)
		o.explain.Organizations(organizations.Resident)
		if err := registerAll(r, o.explain); err != nil {
			o.close()
			return nil, err
		}
	}
	if cfg.Shadow != nil {
		if err := o.openShadows(ctx, cfg, env, log, r); err != nil {
			o.close()
			return nil, err
		}
	}
	return o, nil
}

func (o *observers) close() {
	if o.explain != nil {
		o.explain.Close()
	}
	closeShadow(o.shadow)
	for _, s := range o.organizationShadows {
		closeShadow(s)
	}
	o.tracer.Close()
}

// routes are what the observers answer on the operator's listener.
func (o *observers) routes() map[string]http.Handler {
	if o.explain == nil {
		return nil
	}
	return map[string]http.Handler{explain.Route: o.explain}
}

// observe hands a decision to whoever logs, keeps or compares it. None of them waits, and nothing that goes wrong here
// changes the answer, which is made.
func (s *Server) observe(c *call, elapsed time.Duration) {
	o := &s.options
	if o.DecisionLog == nil && o.Explain == nil && o.Shadow == nil && o.OrganizationShadows == nil || c.result == resultPublished {
		return
	}
	defer s.survive(c, "observing a decision panicked")
	r := c.record(cmp.Or(c.path, o.DecisionPath), o.OrganizationPath, elapsed)
	if o.DecisionLog != nil {
		o.DecisionLog.Add(r)
	}
	asked := c.policyWasAsked()
	if o.Explain != nil {
		kept := explain.Decided{Record: r, Policy: c.snapshot.Policy}
		if c.identity != nil {
			kept.Issuer = c.snapshot.Issuers[c.identity.Issuer]
		}
		if asked {
			kept.Subject = s.subject(c)
		}
		o.Explain.Add(kept)
	}
	if o.Shadow != nil && asked && c.path == "" && !c.abandoned() {
		o.Shadow.Offer(shadow.Decided{Record: ofMesh(r), Subject: s.subject(c), Policy: c.snapshot.Policy})
	}
	if c.org.policy != nil && !c.abandoned() {
		if own := o.OrganizationShadows[c.identity.OrganizationID]; own != nil {
			own.Offer(shadow.Decided{Record: ofOrganization(r), Subject: s.organizationSubject(c), Policy: c.org.policy.Policy})
		}
	}
}

// abandoned reports whether it ended because nobody waited for it any more.
func (c *call) abandoned() bool { return c.reason == reasonDeadline || c.reason == reasonCancelled }

// policyWasAsked reports whether the policy was asked about the call: its decision is there, or the reason says how it failed to make one.
func (c *call) policyWasAsked() bool {
	if c.request == nil || c.snapshot.Policy == nil {
		return false
	}
	if c.decision != nil {
		return true
	}
	switch decide.Reason(c.reason) {
	case decide.ReasonTimeout, decide.ReasonOverloaded, decide.ReasonUndefined, decide.ReasonFailed, decide.ReasonDecision:
		return true
	}
	return false
}

// openShadows begins to follow the candidates. One that cannot be loaded is in the log and in the metrics.
func (o *observers) openShadows(ctx context.Context, cfg *Config, env *feed.Env, log *decisionlog.Log, r prometheus.Registerer) error {
	s := cfg.Shadow
	metrics, err := shadow.NewMetrics(r)
	if err != nil {
		return err
	}
	percents := map[string]float64{}
	for id := range s.Organizations {
		percents[id] = s.PercentOf(id)
	}
	follow := func(f *feed.PolicyDir) {
		_ = f.Load(ctx)
		o.feeds = append(o.feeds, f)
	}
	if s.Dir != "" {
		compiled := s.MeshConfig(cfg)
		o.shadow, err = shadow.New(shadow.Config{Path: compiled.Path, Percent: s.Percent, Percents: percents, Log: log, Metrics: metrics})
		if err != nil {
			return err
		}
		follow(feed.NewCandidateDir(env, string(s.Dir), compiled, o.shadow.Candidate()))
	}
	o.organizationShadows = map[string]*shadow.Shadow{}
	for _, id := range slices.Sorted(maps.Keys(s.Organizations)) {
		dir := string(s.Organizations[id].Dir)
		if dir == "" {
			continue
		}
		compiled := s.OwnConfig(cfg)
		own, err := shadow.New(shadow.Config{Organization: id, Path: compiled.Path, Percents: percents, Log: log, Metrics: metrics})
		if err != nil {
			return err
		}
		o.organizationShadows[id] = own
		follow(feed.NewOrganizationCandidateDir(env, dir, id, compiled, own.Candidate()))
	}
	return nil
}

func closeShadow(s *shadow.Shadow) {
	if s == nil {
		return
	}
	if candidate := s.Candidate().Load(); candidate != nil {
		candidate.Close()
	}
	s.Close()
}
