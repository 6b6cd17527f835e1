package extauthz

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/explain"
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
	"github.com/agentidp/agentidp/extauthz/internal/shadow"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/obs"
)

// Explain keeps the last decisions in memory, without credentials and bodies, for /debug/decision/{id} on metrics.listen.
type Explain struct {
	Bytes config.Bytes `yaml:"bytes"`
}

// Shadow is a candidate policy, followed as the policy in force is. What it says is compared, counted and logged, after the
// answer; a candidate that is broken, slow or hostile changes no answer.
type Shadow struct {
	Dir           config.Path `yaml:"dir"`
	Path          string      `yaml:"path"`          // of the decision; that of the policy in force if unsaid
	Percent       float64     `yaml:"percent"`       // of the decisions, by decision id
	Organizations []string    `yaml:"organizations"` // of the callers; all if unsaid
}

const (
	explainBytesMin      = 64 << 10
	explainBytesMax      = 256 << 20
	shadowPercentDefault = 10
	shadowWorkers        = 1 // the candidate is asked about one decision at a time
	organizationsMax     = 1000
)

// SetDefaults implements the defaults of the config file.
func (s *Shadow) SetDefaults() { s.Percent = shadowPercentDefault }

// validateObservers does not compile the candidate: a broken one must not keep the process from starting.
func (c *Config) validateObservers(r *config.Report) {
	if e := c.Explain; e != nil {
		if e.Bytes < explainBytesMin || e.Bytes > explainBytesMax {
			r.Errorf("explain.bytes", "want between 64KiB and 256MiB, such as 4MiB")
		}
		if c.Metrics == nil {
			r.Errorf("explain", "needs metrics.listen: that is where it answers")
		}
	}
	s := c.Shadow
	if s == nil {
		return
	}
	if c.DecisionLog == nil {
		r.Errorf("shadow", "needs decisionLog: that is where disagreements go")
	}
	if s.Dir == "" {
		r.Errorf("shadow.dir", "is required")
	}
	if s.Dir == c.Policy.Dir && s.Dir != "" && (s.Path == "" || s.Path == c.Policy.decisionPath()) {
		r.Errorf("shadow.dir", "is the policy in force: there is nothing to compare")
	}
	if strings.HasPrefix(s.Path, "/") || strings.HasSuffix(s.Path, "/") {
		r.Errorf("shadow.path", "want names separated by single slashes, as in agentidp/authz/allow")
	}
	if !isPart(s.Percent, 100) || s.Percent == 0 {
		r.Errorf("shadow.percent", "want a number above 0, up to 100")
	}
	if len(s.Organizations) > organizationsMax {
		r.Errorf("shadow.organizations", "has %d entries, at most %d are accepted", len(s.Organizations), organizationsMax)
	}
	for i, o := range s.Organizations {
		if err := checkIdentifier(o); err != nil {
			r.Errorf(fmt.Sprintf("shadow.organizations[%d]", i), "%v", err)
		} else if slices.Contains(s.Organizations[:i], o) {
			r.Errorf(fmt.Sprintf("shadow.organizations[%d]", i), "is listed twice")
		}
	}
}

// observers look at decisions once they are made.
type observers struct {
	explain *explain.Recorder // nil when off, as is shadow
	shadow  *shadow.Shadow
	feeds   []feed.Feed // of the candidate
	tracer  *obs.Tracer // nil when off
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
		if r != nil {
			if err := r.Register(o.explain); err != nil {
				o.close()
				return nil, fmt.Errorf("metrics: %w", err)
			}
		}
	}
	if s := cfg.Shadow; s != nil {
		candidate := cfg.policyConfig()
		candidate.Workers, candidate.Routes = shadowWorkers, nil
		if s.Path != "" {
			candidate.Path = s.Path
		}
		o.shadow, err = shadow.New(shadow.Config{Path: candidate.Path, Percent: s.Percent, Organizations: s.Organizations, Log: log, Registerer: r})
		if err != nil {
			o.close()
			return nil, err
		}
		follow := feed.NewCandidateDir(env, string(s.Dir), candidate, o.shadow.Candidate())
		_ = follow.Load(ctx) // a candidate that cannot be loaded is in the log and in the metrics
		o.feeds = append(o.feeds, follow)
	}
	return o, nil
}

func (o *observers) close() {
	if o.explain != nil {
		o.explain.Close()
	}
	if o.shadow != nil {
		if candidate := o.shadow.Candidate().Load(); candidate != nil {
			candidate.Close()
		}
		o.shadow.Close()
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
	if o.DecisionLog == nil && o.Explain == nil && o.Shadow == nil || c.result == resultPublished {
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
	if o.Shadow != nil && asked && c.path == "" && c.reason != reasonDeadline {
		o.Shadow.Offer(shadow.Decided{Record: ofMesh(r), Subject: s.subject(c), Policy: c.snapshot.Policy})
	}
}

// policyWasAsked reports whether there is a decision, or would be one if the policy were better.
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
