// Package shadow asks a candidate policy what it would have decided, beside the policy that decides. Nothing it finds out
// changes an answer, and nothing it does delays one: a decision is offered after it was made, into a bounded queue; one
// worker asks the candidate; what does not fit is skipped and counted. Disagreements go to the decision log.
package shadow

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/internal/policy"
)

// Limits of what the candidate may cost.
const (
	queueMax      = 256     // decisions
	queueBytesMax = 4 << 20 // of requests they hold on to

	// restAfterTimeout is how long a candidate that ran out of time is left alone: one that always does costs a fortieth of a
	// processor with the usual deadline of 25 ms, and never more than a fifth.
	restAfterTimeout = time.Second

	// explainEvery bounds how often a disagreement is explained by its rules, which costs far more than to find it.
	explainEvery = 50 * time.Millisecond

	codeFault = "fault" // reason of a candidate whose evaluation broke in a way of its own
)

// Causes of a comparison that did not take place. Closed set: metric label.
const (
	causeMissing = "missing" // no candidate compiles
	causeResting = "resting" // it ran out of time a moment ago
	causeBusy    = "busy"    // too many decisions were waiting
	causeClosed  = "closed"  // the process ends
)

// Config says which decisions the candidate is asked about.
type Config struct {
	// Organization whose own policy the candidate is for; "" for a candidate of the mesh policy.
	Organization string
	Path         string             // of the candidate's decision, for the log
	Percent      float64            // of the decisions, by decision id, except of callers whose organization is named
	Percents     map[string]float64 // of the decisions about callers of these organizations
	Log          *decisionlog.Log
	Metrics      *Metrics // nil keeps them private
}

// Metrics are those of all candidates of a process. Only organizations that a configuration names are in a label: it is bounded.
type Metrics struct{ decisions, skipped *prometheus.CounterVec }

// NewMetrics registers them; nil keeps them private.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentidp_extauthz_shadow_decisions_total",
			Help: "Decisions a candidate (for the policy of: mesh, organization) was asked about: what was decided (from) and what it would have (to): allowed, denied, undecided.",
		}, []string{"candidate", "organization", "from", "to"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentidp_extauthz_shadow_skipped_total",
			Help: "Decisions a candidate should have been asked about and was not: missing (none compiles), resting (it ran out of time), busy, closed.",
		}, []string{"candidate", "organization", "cause"}),
	}
	if r != nil {
		for _, c := range []prometheus.Collector{m.decisions, m.skipped} {
			if err := r.Register(c); err != nil {
				return nil, fmt.Errorf("metrics: %w", err)
			}
		}
	}
	return m, nil
}

// For which policy a candidate is: metric label.
const (
	forMesh         = "mesh"
	forOrganization = "organization"
)

// Decided is one decision, offered to be compared.
type Decided struct {
	Record  decisionlog.Record
	Subject decide.Subject
	Policy  *policy.Policy // which decided
}

// Shadow compares. It is safe for concurrent use.
type Shadow struct {
	cfg       Config
	share     decisionlog.Share
	shares    map[string]decisionlog.Share // of the organizations that are named
	candidate atomic.Pointer[policy.Policy]
	queue     chan Decided
	pending   atomic.Int64 // bytes
	restUntil atomic.Int64 // unix nanoseconds
	explained time.Time    // the last disagreement that was; only the worker uses it
	ask       func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault)

	decisions *prometheus.CounterVec
	skipped   *prometheus.CounterVec

	closing sync.RWMutex // held for reading while a decision is handed over

	ctx  context.Context // ends with Close
	end  context.CancelFunc
	done chan struct{}
}

// New starts the worker. Close it.
func New(cfg Config) (*Shadow, error) {
	if cfg.Metrics == nil {
		cfg.Metrics, _ = NewMetrics(nil)
	}
	kind := prometheus.Labels{"candidate": forMesh}
	if cfg.Organization != "" {
		kind["candidate"] = forOrganization
	}
	s := &Shadow{
		cfg: cfg, share: decisionlog.NewShare("shadow", cfg.Percent/100), shares: map[string]decisionlog.Share{},
		queue: make(chan Decided, queueMax), ask: decide.Decide, done: make(chan struct{}),
	}
	for id, percent := range cfg.Percents {
		s.shares[id] = decisionlog.NewShare("shadow", percent/100)
	}
	var err error
	if s.decisions, err = cfg.Metrics.decisions.CurryWith(kind); err != nil {
		return nil, err
	}
	if s.skipped, err = cfg.Metrics.skipped.CurryWith(kind); err != nil {
		return nil, err
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	go s.work()
	return s, nil
}

// Candidate is where the policy to be asked is put; nil asks none.
func (s *Shadow) Candidate() *atomic.Pointer[policy.Policy] { return &s.candidate }

// Offer hands a decision over. It never blocks. One that concerns the candidate ends in exactly one count: compared, or skipped and why.
func (s *Shadow) Offer(d Decided) {
	if !s.concerns(&d) {
		return
	}
	s.closing.RLock()
	defer s.closing.RUnlock()
	size := d.Record.Size()
	switch {
	case s.ctx.Err() != nil:
		s.skip(&d, causeClosed)
	case s.candidate.Load() == nil:
		s.skip(&d, causeMissing)
	case s.rests():
		s.skip(&d, causeResting)
	case s.pending.Add(size) > queueBytesMax:
		s.pending.Add(-size)
		s.skip(&d, causeBusy)
	default:
		select {
		case s.queue <- d:
		default:
			s.pending.Add(-size)
			s.skip(&d, causeBusy)
		}
	}
}

func (s *Shadow) rests() bool { return time.Now().UnixNano() < s.restUntil.Load() }

func (s *Shadow) skip(d *Decided, cause string) { s.skipped.WithLabelValues(s.label(d), cause).Inc() }

// concerns reports whether the decision is in the share of whoever called.
func (s *Shadow) concerns(d *Decided) bool {
	if share, named := s.shares[organizationOf(d)]; named {
		return share.Has(d.Record.DecisionID)
	}
	return s.share.Has(d.Record.DecisionID)
}

// label is the caller's organization if the configuration names it: callers must not make time series.
func (s *Shadow) label(d *Decided) string {
	id := organizationOf(d)
	if _, named := s.shares[id]; !named {
		return ""
	}
	return id
}

func organizationOf(d *Decided) string {
	if d.Subject.Identity == nil {
		return ""
	}
	return d.Subject.Identity.OrganizationID
}

// Close ends the worker, at the latest when the candidate's deadline ends what it is at. What waits is let go, and counted. Offer does no
// harm after it.
func (s *Shadow) Close() {
	s.closing.Lock() // nothing is queued from here on
	s.end()
	s.closing.Unlock()
	<-s.done
}

func (s *Shadow) work() {
	defer close(s.done)
	for {
		select {
		case <-s.ctx.Done():
			s.letGo()
			return
		case d := <-s.queue:
			s.pending.Add(-d.Record.Size())
			s.compare(d)
		}
	}
}

func (s *Shadow) letGo() {
	for {
		select {
		case d := <-s.queue:
			s.pending.Add(-d.Record.Size())
			s.skip(&d, causeClosed)
		default:
			return
		}
	}
}

// opinion is what the candidate makes of a request.
type opinion struct {
	result, reason, code string
	decision             any
	err                  string
}

func (s *Shadow) compare(d Decided) {
	candidate := s.candidate.Load()
	switch { // it may have changed while the decision waited
	case s.ctx.Err() != nil:
		s.skip(&d, causeClosed)
		return
	case candidate == nil:
		s.skip(&d, causeMissing)
		return
	case s.rests():
		s.skip(&d, causeResting)
		return
	}
	would := s.opinionOf(candidate, d.Subject)
	if s.ctx.Err() != nil {
		s.skip(&d, causeClosed) // it was interrupted: that says nothing about it
		return
	}
	defer s.decisions.WithLabelValues(s.label(&d), d.Record.Result, would.result).Inc()
	if would.result == d.Record.Result || s.cfg.Log == nil {
		return
	}
	r := d.Record
	r.Shadow = &decisionlog.Shadow{
		Organization: s.cfg.Organization, Revision: candidate.Revision(), Path: s.cfg.Path, Result: would.result, Reason: would.reason, Code: would.code,
		Decision: would.decision, Err: would.err,
	}
	if now := time.Now(); now.Sub(s.explained) >= explainEvery {
		s.explained = now
		s.explain(r.Shadow, d, candidate)
	}
	s.cfg.Log.Add(r)
}

// opinionOf asks the candidate. Whatever goes wrong is its opinion: undecided.
func (s *Shadow) opinionOf(candidate *policy.Policy, subject decide.Subject) (would opinion) {
	defer func() {
		if p := recover(); p != nil {
			would = opinion{result: decisionlog.ResultUndecided, reason: codeFault, err: fmt.Sprintf("panic: %.200v", p)}
		}
	}()
	decision, refusal, fault := s.ask(s.ctx, candidate, subject)
	switch {
	case fault != nil:
		if fault.Reason == decide.ReasonTimeout || fault.Reason == decide.ReasonOverloaded {
			s.restUntil.Store(time.Now().Add(restAfterTimeout).UnixNano())
		}
		return opinion{result: decisionlog.ResultUndecided, reason: string(fault.Reason), err: fault.Err.Error()}
	case refusal != nil: // it reads the body, and the body is not what it says it is
		return opinion{result: decisionlog.ResultDenied, reason: string(refusal.Reason)}
	case decision.Allowed:
		return opinion{result: decisionlog.ResultAllowed, reason: "allowed", decision: decision.Result}
	default:
		return opinion{result: decisionlog.ResultDenied, reason: "policy_denied", code: decision.Reason.Code, decision: decision.Result}
	}
}

// explain adds the rules on both sides, as far as they can be had in time.
func (s *Shadow) explain(line *decisionlog.Shadow, d Decided, candidate *policy.Policy) {
	input, refusal, err := decide.Input(d.Subject)
	if refusal != nil || err != nil {
		return
	}
	line.Rules, line.Labels = s.held(candidate, input)
	if d.Policy != nil {
		line.ActiveRules, line.ActiveLabels = s.held(d.Policy, input)
	}
}

func (s *Shadow) held(p *policy.Policy, input policy.Value) (rules []string, labels []map[string]any) {
	e, err := p.Explain(s.ctx, input)
	if err != nil {
		return nil, nil
	}
	for _, r := range e.Rules {
		if r.Held {
			rules = append(rules, r.String())
		}
	}
	return rules, e.Labels
}
