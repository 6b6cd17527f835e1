package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/obs"
)

// Reasons of this package; the others are those of the stages. All are metric labels: a closed set.
const (
	reasonAllowed       = "allowed"
	reasonPolicy        = "policy_denied"
	reasonPolicyMissing = "policy_missing"
	reasonPolicyRoute   = "policy_route"
	reasonDeadline      = "deadline"
	reasonCancelled     = "cancelled"
	reasonPanic         = "panic"
	reasonOverload      = "check_overload"
)

// codeScope is the code, and RFC 6750's error, of a policy that names the scopes it misses.
const codeScope = "insufficient_scope"

// The results a call can have.
const (
	resultAllowed   = "allowed"
	resultDenied    = "denied"
	resultUndecided = "undecided"
	resultPublished = "published" // the resource's metadata: nothing was to be decided
)

// call is one Check: what it decides by, and what it came to. Its answer is a 503 until a step concludes otherwise.
type call struct {
	id       string
	started  time.Time // monotonic, for durations
	now      time.Time
	snapshot *state.Snapshot
	resource *published
	request  *checkreq.Request
	scheme   credential.Scheme // the token was presented by; "" without one
	identity *identity.Identity
	decision *decide.Decision
	path     string            // of the decision, when the route names one
	org      narrowing         // by the caller's organization
	quotas   *checkresp.Quotas // of the caller, for the metadata of an OK

	answer checkresp.Answer
	result string
	reason string
	status int
	err    error // for operators; never sent

	atOnce    bool // nothing that takes work may be done now
	postponed bool // because of that, it is not concluded
	known     bool // who calls, and that they may call so often

	traceParent, traceState string // Envoy's, of its own call (W3C Trace Context)

	rehearsed bool // the policy is in a dry run
	overruled bool // its denial was not enforced

	nonce string // for the client's next proof; "" leaves it its own

	traced bool      // whether it is recorded is known
	span   *obs.Span // nil: it is not
	stage  string    // its last one
}

// open takes one decision id, one snapshot and one time for the whole call.
func (s *Server) open() *call {
	started := time.Now()
	return &call{
		id: newDecisionID(started), started: started, now: s.options.Now(), snapshot: s.options.Store.Load(), resource: s.resource,
		result: resultUndecided, reason: reasonPanic, status: http.StatusServiceUnavailable, rehearsed: s.dryRun != nil,
	}
}

// close turns whatever the call came to into what Envoy gets, and accounts for it. An OK that is late is taken back:
// Envoy would still honour it, after it told the client that the check failed, or after the client gave up.
func (s *Server) close(ctx context.Context, c *call, panicked any) checkresp.Answer {
	if panicked != nil {
		s.metrics.panics.Inc()
		s.options.Log.Error("check panicked", "decision_id", c.id, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		c.giveUp(reasonPanic, nil)
	}
	ended := time.Now()
	if c.answer.Allowed() && late(ctx, ended) {
		c.giveUpLate(ctx)
	}
	elapsed := ended.Sub(c.started)
	s.metrics.decision(c.result, c.reason, elapsed)
	if c.result == resultUndecided && c.reason != reasonCancelled && s.faults.take(c.now) {
		s.options.Log.Warn("cannot decide", "decision_id", c.id, "reason", c.reason, "err", c.err, "epoch", c.snapshot.Epoch)
	}
	s.observe(c, elapsed)
	s.endTrace(c)
	return c.answer
}

// late reports whether Envoy no longer waits for the answer.
func late(ctx context.Context, now time.Time) bool {
	if ctx.Err() != nil {
		return true
	}
	deadline, ok := ctx.Deadline() // the timer behind Err may lag on a busy machine
	return ok && !now.Before(deadline)
}

// cancelled reports whether Envoy took its question back, as it does when the client has gone. That is no fault of anybody here.
func cancelled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// giveUpLate concludes a call that nobody waits for any more.
func (c *call) giveUpLate(ctx context.Context) checkresp.Answer {
	if cancelled(ctx) {
		return c.giveUp(reasonCancelled, ctx.Err())
	}
	return c.giveUp(reasonDeadline, ctx.Err())
}

func (c *call) deny(result, reason string, d checkresp.Denial) checkresp.Answer {
	d.DecisionID = c.id
	d.GRPC = c.request != nil && c.request.IsGRPC()
	c.resource.challenge(d.Challenge)
	c.answer, c.result, c.reason, c.status, c.overruled = checkresp.Deny(d), result, reason, d.Status, false
	return c.answer
}

// giveUp concludes that the request cannot be decided. The client learns no more than that.
func (c *call) giveUp(reason string, err error) checkresp.Answer {
	c.err = err
	return c.deny(resultUndecided, reason, checkresp.Unavailable(c.id))
}

func (c *call) refuseRequest(r *checkreq.Refusal) checkresp.Answer {
	return c.deny(resultDenied, string(r.Reason), checkresp.Denial{Status: http.StatusBadRequest, Code: string(r.Reason), Documented: true, Detail: r.Detail})
}

func (c *call) refuseCredential(r *credential.Refusal) checkresp.Answer {
	d := checkresp.Denial{Status: http.StatusUnauthorized, Code: string(r.Reason), Documented: true, Detail: r.Detail, Challenge: &checkresp.Challenge{Scheme: challengeScheme(r.Scheme)}}
	switch r.Class { // RFC 6750 s3.1
	case credential.InvalidRequest:
		d.Status, d.Challenge.Error = http.StatusBadRequest, "invalid_request"
	case credential.InvalidToken:
		d.Challenge.Error = "invalid_token"
	case credential.InvalidProof:
		d.Challenge.Error = "invalid_dpop_proof"
	}
	return c.deny(resultDenied, string(r.Reason), d)
}

func (c *call) refuseToken(r *identity.Refusal) checkresp.Answer {
	switch {
	case r.Reason == identity.ReasonCrowded:
		return c.refuseCrowded(string(r.Reason), r.Detail)
	case r.Undecided:
		return c.giveUp(string(r.Reason), r)
	}
	return c.deny(resultDenied, string(r.Reason), checkresp.Denial{
		Status: http.StatusUnauthorized, Code: string(r.Reason), Documented: true, Detail: r.Detail,
		Challenge: &checkresp.Challenge{Scheme: challengeScheme(c.scheme), Error: "invalid_token"},
	})
}

// conclude says what the policy said.
func (c *call) conclude(d *decide.Decision, mode settings.IdentityMode) checkresp.Answer {
	c.decision = d
	if d.Allowed {
		return c.allow(d.Changes)
	}
	return c.refuse(d, mode, reasonPolicy)
}

// refuse says what a policy said that denies; reason stands for it where it gave none of its own.
func (c *call) refuse(d *decide.Decision, mode settings.IdentityMode, reason string) checkresp.Answer {
	denial := checkresp.Denial{
		Status: d.Status, Code: d.Reason.Code, Detail: d.Reason.Detail, Changes: d.Changes, Body: d.Body,
	}
	if denial.Code == "" {
		denial.Code = reason
	}
	denial.Documented = denial.Code == reason || denial.Code == codeScope
	if denial.Detail == "" {
		denial.Detail = "The policy does not allow this request."
	}
	if denial.Status == 0 {
		denial.Status = http.StatusForbidden
		if c.identity == nil && mode == settings.IdentityOptional && len(c.request.Headers.Values("authorization")) == 0 {
			denial.Status = http.StatusUnauthorized // a token might help: say so, without error code (RFC 6750 s3.1)
		}
	}
	switch {
	case denial.Status == http.StatusUnauthorized:
		denial.Challenge = &checkresp.Challenge{Scheme: challengeScheme(c.scheme)}
	case denial.Status == http.StatusForbidden && len(d.Reason.RequiredScopes) > 0:
		denial.Challenge = &checkresp.Challenge{Scheme: challengeScheme(c.scheme), Error: codeScope, Scopes: d.Reason.RequiredScopes}
	}
	return c.deny(resultDenied, reason, denial)
}

func (c *call) record(path, orgPath string, elapsed time.Duration) decisionlog.Record {
	r := decisionlog.Record{
		DecisionID: c.id, Time: c.now, Elapsed: elapsed, Epoch: c.snapshot.Epoch, Path: path,
		Result: c.result, Reason: c.reason, Status: c.status, Request: c.request, Identity: c.identity,
		DryRun: c.rehearsed, Overruled: c.overruled, Trace: c.traceOf(),
	}
	if c.snapshot.Policy != nil {
		r.Revision = c.snapshot.Policy.Revision()
	}
	if c.decision != nil {
		r.Decision, r.Code = c.decision.Result, c.decision.Reason.Code
	}
	r.Organization = c.org.record(c, orgPath)
	if c.err != nil {
		r.Err = c.err.Error()
	}
	return r
}
