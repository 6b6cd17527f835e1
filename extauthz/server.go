package extauthz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/admission"
	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/explain"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
	"github.com/agentidp/agentidp/extauthz/internal/possession"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/shadow"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
	"github.com/agentidp/agentidp/internal/obs"
)

// Options are what a Server needs. Only Store is required.
type Options struct {
	Store         *state.Store
	Identity      settings.IdentityMode  // "" is settings.IdentityRequired
	Public        []settings.PublicRoute // asked of the policy without an identity
	CORS          settings.CORS          // what becomes of preflights
	Health        []settings.HealthRoute // not decided about
	Hints         identity.Hints
	Possession    possession.Config      // how proofs of possession are judged; Started is set by New
	CacheBytes    int64                  // of verified tokens; 0 is identity.CacheBytesDefault
	DecisionCache settings.DecisionCache // zero remembers no decisions
	Now           func() time.Time       // nil is time.Now
	Log           *slog.Logger           // nil discards
	Registerer    prometheus.Registerer  // nil keeps the metrics private
	DecisionLog   *decisionlog.Log       // nil logs no decisions; the Server does not close it
	DecisionPath  string                 // shown in decision logs: agentidp/authz/allow
	Explain       *explain.Recorder      // nil keeps no decisions; the Server does not close it
	Shadow        *shadow.Shadow         // nil compares no decisions; the Server does not close it
	// OrganizationShadows compare the decisions of policies of organizations, by organization; the Server does not close them.
	OrganizationShadows map[string]*shadow.Shadow

	Tracer        *obs.Tracer        // nil traces nothing; the Server does not close it
	View          settings.View      // what of a request the policy is shown
	Resource      *settings.Resource // nil publishes no metadata
	Limits        *settings.Limits   // of requests; nil limits none
	Organizations *orgpolicy.Set     // nil: no organization has a policy of its own; the Server does not close it
	DryRun        bool               // the policy is asked, logged and not obeyed when it denies: see dryrun.go

	OrganizationPath    string   // shown in decision logs, as DecisionPath is
	OrganizationHeaders []string // of requests, that policies of organizations may set and remove
}

// Server answers Envoy. Every answer is an explicit OK or an explicit denial, whatever happens: see Check and Guard.
type Server struct {
	options   Options
	verifier  *identity.Verifier
	decisions *decide.Cache // nil: none are remembered
	proofs    *possession.Checker
	metrics   *metrics
	gate      *admission.Gate
	limits    *limiter // nil limits none
	faults    sampler
	dryRun    *dryRun    // nil: decisions are enforced
	resource  *published // nil: no metadata
	stages    stages
}

// stages are the steps of Check. They are replaced by tests that inject faults, and by nobody else.
type stages struct {
	parse      func([]byte) (*checkreq.Request, *checkreq.Refusal)
	credential func(*checkreq.Request) (credential.Credential, *credential.Refusal)
	identify   func(s *state.Snapshot, source, token string, now time.Time) (*identity.Identity, identity.Result, *identity.Refusal)
	decide     func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault)
}

// New returns a Server that decides by whatever the Store holds. Close it when no call can follow.
func New(o Options) (*Server, error) {
	if o.Store == nil {
		return nil, errors.New("extauthz: Options.Store is required")
	}
	switch o.Identity {
	case "":
		o.Identity = settings.IdentityRequired
	case settings.IdentityRequired, settings.IdentityOptional, settings.IdentityPolicy:
	default:
		return nil, errors.New("extauthz: unknown identity mode")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	resource, err := publish(o.Resource)
	if err != nil {
		return nil, fmt.Errorf("extauthz: resource: %w", err)
	}
	metrics, err := newMetrics(o.Registerer, o.Store, o.DecisionLog)
	if err != nil {
		return nil, err
	}
	if o.Possession.Started.IsZero() {
		o.Possession.Started = o.Now()
	}
	proofs, err := possession.New(o.Possession)
	if err != nil {
		return nil, err
	}
	verifier, err := identity.NewVerifier(o.CacheBytes, o.Hints)
	if err != nil {
		return nil, err
	}
	rehearsal, err := newDryRun(o)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: o, verifier: verifier, proofs: proofs, metrics: metrics, dryRun: rehearsal, resource: resource,
		stages: stages{checkreq.Parse, credential.Find, verifier.Identify, decide.Decide},
	}
	if err := errors.Join(s.registerOrganizations(), s.setUpLimits()); err != nil {
		verifier.Close()
		return nil, err
	}
	if err := s.useDecisionCache(); err != nil {
		verifier.Close()
		return nil, err
	}
	return s, nil
}

// Close releases the caches. No call may be running or follow.
func (s *Server) Close() {
	s.verifier.Close()
	if s.decisions != nil {
		s.decisions.Close()
	}
}

// Check decides about one request, given the bytes of a CheckRequest, which it does not keep. It is the whole pipeline;
// each step either goes on or concludes the call with a denial. There is no error to return: an error would leave the
// decision to Envoy's failure_mode_allow.
func (s *Server) Check(ctx context.Context, check []byte) (out checkresp.Answer) {
	c := s.open()
	defer func() { out = s.close(ctx, c, recover()) }()
	if s.read(ctx, c, check) {
		s.judge(ctx, c)
	}
	return c.answer
}

// checkRemembered is Check as far as it goes without work. A call that is not concluded then is returned, for checkOn.
func (s *Server) checkRemembered(ctx context.Context, in *unary.Call) (out checkresp.Answer, open *call) {
	c := s.open()
	defer func() {
		if p := recover(); p != nil || !c.postponed {
			out, open = s.close(ctx, c, p), nil
		}
	}()
	c.traceParent, c.traceState = in.TraceParent, in.TraceState
	c.atOnce = true
	switch in.Fault {
	case unary.FaultNone:
		if s.read(ctx, c, in.Message) {
			s.judge(ctx, c)
		}
	case unary.FaultOverload:
		c.giveUp(reasonOverload, errors.New("more checks are being received than there is room for"))
	default:
		c.refuseRequest(checkreq.Unread(in.Fault == unary.FaultTooLarge))
	}
	return c.answer, c
}

// checkOn goes on with a call that checkRemembered returned.
func (s *Server) checkOn(ctx context.Context, c *call) (out checkresp.Answer) {
	c.atOnce, c.postponed = false, false
	defer func() { out = s.close(ctx, c, recover()) }()
	if late(ctx, time.Now()) {
		return c.giveUpLate(ctx)
	}
	s.judge(ctx, c)
	return c.answer
}

// read makes a request of the bytes, and reports whether there is something to judge.
func (s *Server) read(ctx context.Context, c *call, check []byte) bool {
	if late(ctx, c.started) {
		c.giveUpLate(ctx)
		return false
	}
	request, refusal := s.stages.parse(check)
	s.trace(c, request)
	if refusal != nil {
		c.refuseRequest(refusal)
		return false
	}
	c.request = request
	s.withholdForwardedCertificate(request)
	if s.resource.has(request) {
		c.publish()
		return false
	}
	if reason := s.bypass(request); reason != "" {
		c.pass(reason)
		return false
	}
	return true
}

// judge concludes the call, unless it is postponed.
func (s *Server) judge(ctx context.Context, c *call) {
	if !c.known {
		if s.needsIdentity(c.request) && !s.identify(c) {
			return
		}
		if c.identity == nil && s.options.Identity != settings.IdentityPolicy {
			withholdCredentials(c.request)
		}
		c.known = true
		if s.limits.apply(c) {
			return
		}
	}
	if c.snapshot.Policy == nil {
		c.giveUp(reasonPolicyMissing, errors.New("no policy is loaded"))
		return
	}
	c.enter(stageDecide)
	evaluator, err := c.evaluator()
	if err != nil {
		c.giveUp(reasonPolicyRoute, err)
		return
	}
	decision, refusal, fault := s.decide(ctx, c, evaluator)
	switch {
	case c.postponed:
	case fault != nil:
		c.giveUp(string(fault.Reason), fault.Err)
	case refusal != nil:
		c.refuseRequest(refusal)
	default:
		s.settle(ctx, c, decision)
	}
	if c.postponed {
		return
	}
	if c.result == resultUndecided && cancelled(ctx) { // the policy was interrupted
		c.giveUpLate(ctx)
	}
	s.dryRun.overrule(c)
}

// identify finds out who calls, and reports whether the call goes on: with an identity, or without one where it may.
func (s *Server) identify(c *call) bool {
	c.enter(stageIdentity)
	presented, missing := s.stages.credential(c.request)
	if missing != nil {
		if missing.Reason != credential.ReasonMissing || s.options.Identity == settings.IdentityRequired {
			c.refuseCredential(missing)
			return false
		}
		return true
	}
	c.scheme = presented.Scheme
	who, result, refusal := s.verify(c, presented)
	if c.postponed {
		return false
	}
	s.metrics.token(result)
	if refusal != nil {
		c.refuseToken(refusal)
		return false
	}
	if refusal := s.prove(c, who, presented); refusal != nil {
		c.refusePossession(refusal)
		return false
	}
	c.identity = who
	return true
}

// verify asks whom the token proves. A signature, of the token or of a proof, is work.
func (s *Server) verify(c *call, presented credential.Credential) (*identity.Identity, identity.Result, *identity.Refusal) {
	if !c.atOnce {
		return s.stages.identify(c.snapshot, source(c.request), presented.Token, c.now)
	}
	who, refusal, known := s.verifier.Recall(c.snapshot, presented.Token, c.now)
	c.postponed = !known || who != nil && presented.Proof != ""
	return who, identity.Result{Remembered: true}, refusal
}

// decide asks the policy, or only what is remembered of it.
func (s *Server) decide(ctx context.Context, c *call, p decide.Evaluator) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
	if !c.atOnce {
		return s.stages.decide(ctx, p, s.subject(c))
	}
	var known *decide.Decision
	if s.decisions != nil {
		known = s.decisions.Recall(p, s.subject(c))
	}
	c.postponed = known == nil
	return known, nil, nil
}

// needsIdentity reports whether the request must, or may, prove who sends it. Where it is false the token is neither
// looked for nor verified.
func (s *Server) needsIdentity(r *checkreq.Request) bool {
	if s.options.Identity == settings.IdentityPolicy || s.options.CORS.Preflight == settings.PreflightPolicy && isPreflight(r) {
		return false
	}
	for _, route := range s.options.Public {
		if route.Matches(r.Method, r.Path) {
			return false
		}
	}
	return true
}
