package extauthz

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/uuid"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/state"
)

// Reasons of this package; the others are those of the stages. All are metric labels: a closed set.
const (
	reasonAllowed       = "allowed"
	reasonPolicy        = "policy_denied"
	reasonPolicyMissing = "policy_missing"
	reasonDeadline      = "deadline"
	reasonPanic         = "panic"
)

// The three results a call can have.
const (
	resultAllowed   = "allowed"
	resultDenied    = "denied"
	resultUndecided = "undecided"
)

// call is one Check: what it decides by, and what it came to. Its answer is a 503 until a step concludes otherwise.
type call struct {
	id       string
	started  time.Time // monotonic, for durations
	now      time.Time
	snapshot *state.Snapshot
	request  *checkreq.Request
	identity *identity.Identity
	decision *decide.Decision

	answer checkresp.Answer
	result string
	reason string
	status int
	err    error // for operators; never sent

	rehearsed bool // the policy is in a dry run
	overruled bool // its denial was not enforced
}

// open takes one decision id, one snapshot and one time for the whole call.
func (s *Server) open() *call {
	id := "unknown"
	if u, err := uuid.NewV7(); err == nil {
		id = u.String()
	}
	return &call{
		id: id, started: time.Now(), now: s.options.Now(), snapshot: s.options.Store.Load(),
		result: resultUndecided, reason: reasonPanic, status: http.StatusServiceUnavailable, rehearsed: s.dryRun != nil,
	}
}

// close turns whatever the call came to into what Envoy gets, and accounts for it. An OK that is late is taken back:
// Envoy would still honour it, after it told the client that the check failed, or after the client gave up.
func (s *Server) close(ctx context.Context, c *call, panicked any) *authv3.CheckResponse {
	if panicked != nil {
		s.metrics.panics.Inc()
		s.options.Log.Error("check panicked", "decision_id", c.id, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		_, _ = c.giveUp(reasonPanic, nil)
	}
	if c.answer.Allowed() && late(ctx) {
		_, _ = c.giveUp(reasonDeadline, ctx.Err())
	}
	elapsed := time.Since(c.started)
	s.metrics.decision(c.result, c.reason, elapsed)
	if c.result == resultUndecided && s.faults.take(c.now) {
		s.options.Log.Warn("cannot decide", "decision_id", c.id, "reason", c.reason, "err", c.err, "epoch", c.snapshot.Epoch)
	}
	if s.options.DecisionLog != nil {
		s.options.DecisionLog.Add(c.record(s.options.DecisionPath, elapsed))
	}
	return c.answer.Message()
}

// late reports whether Envoy no longer waits for the answer.
func late(ctx context.Context) bool {
	if ctx.Err() != nil {
		return true
	}
	deadline, ok := ctx.Deadline() // the timer behind Err may lag on a busy machine
	return ok && time.Until(deadline) <= 0
}

func (c *call) deny(result, reason string, d checkresp.Denial) (*authv3.CheckResponse, error) {
	d.DecisionID = c.id
	d.GRPC = c.request != nil && c.request.IsGRPC()
	c.answer, c.result, c.reason, c.status, c.overruled = checkresp.Deny(d), result, reason, d.Status, false
	return nil, nil // close returns the answer
}

// giveUp concludes that the request cannot be decided. The client learns no more than that.
func (c *call) giveUp(reason string, err error) (*authv3.CheckResponse, error) {
	c.err = err
	return c.deny(resultUndecided, reason, checkresp.Unavailable(c.id))
}

func (c *call) refuseRequest(r *checkreq.Refusal) (*authv3.CheckResponse, error) {
	return c.deny(resultDenied, string(r.Reason), checkresp.Denial{Status: http.StatusBadRequest, Code: string(r.Reason), Detail: r.Detail})
}

func (c *call) refuseCredential(r *credential.Refusal) (*authv3.CheckResponse, error) {
	d := checkresp.Denial{Status: http.StatusUnauthorized, Code: string(r.Reason), Detail: r.Detail, Challenge: &checkresp.Challenge{}}
	switch r.Class { // RFC 6750 s3.1
	case credential.InvalidRequest:
		d.Status, d.Challenge.Error = http.StatusBadRequest, "invalid_request"
	case credential.InvalidToken:
		d.Challenge.Error = "invalid_token"
	}
	return c.deny(resultDenied, string(r.Reason), d)
}

func (c *call) refuseToken(r *identity.Refusal) (*authv3.CheckResponse, error) {
	if r.Undecided {
		return c.giveUp(string(r.Reason), r)
	}
	return c.deny(resultDenied, string(r.Reason), checkresp.Denial{
		Status: http.StatusUnauthorized, Code: string(r.Reason), Detail: r.Detail, Challenge: &checkresp.Challenge{Error: "invalid_token"},
	})
}

// conclude says what the policy said.
func (c *call) conclude(d *decide.Decision, mode IdentityMode) (*authv3.CheckResponse, error) {
	c.decision = d
	if d.Allowed {
		c.answer = checkresp.Allow(checkresp.Grant{DecisionID: c.id, Agent: agentOf(c.identity), Strip: c.request.Strip, Changes: d.Changes})
		c.result, c.reason, c.status = resultAllowed, reasonAllowed, 0
		return nil, nil
	}
	denial := checkresp.Denial{
		Status: d.Status, Code: d.Reason.Code, Detail: d.Reason.Detail, Changes: d.Changes, Body: d.Body,
	}
	if denial.Code == "" {
		denial.Code = reasonPolicy
	}
	if denial.Detail == "" {
		denial.Detail = "The policy does not allow this request."
	}
	if denial.Status == 0 {
		denial.Status = http.StatusForbidden
		if c.identity == nil && mode == IdentityOptional && len(c.request.Headers.Values("authorization")) == 0 {
			denial.Status = http.StatusUnauthorized // a token might help: say so, without error code (RFC 6750 s3.1)
		}
	}
	switch {
	case denial.Status == http.StatusUnauthorized:
		denial.Challenge = &checkresp.Challenge{}
	case denial.Status == http.StatusForbidden && len(d.Reason.RequiredScopes) > 0:
		denial.Challenge = &checkresp.Challenge{Error: "insufficient_scope", Scopes: d.Reason.RequiredScopes}
	}
	return c.deny(resultDenied, reasonPolicy, denial)
}

func agentOf(i *identity.Identity) *checkresp.Agent {
	if i == nil {
		return nil
	}
	return &checkresp.Agent{
		ID: i.Subject, Organization: i.OrganizationID, Issuer: i.Issuer, ClientID: i.ClientID,
		Name: i.AgentName, Origin: i.Origin, Scopes: i.Scopes,
	}
}

func (c *call) record(path string, elapsed time.Duration) decisionlog.Record {
	r := decisionlog.Record{
		DecisionID: c.id, Time: c.now, Elapsed: elapsed, Epoch: c.snapshot.Epoch, Path: path,
		Result: c.result, Reason: c.reason, Status: c.status, Request: c.request, Identity: c.identity,
		DryRun: c.rehearsed, Overruled: c.overruled,
	}
	if c.snapshot.Policy != nil {
		r.Revision = c.snapshot.Policy.Revision()
	}
	if c.decision != nil {
		r.Decision, r.Code = c.decision.Result, c.decision.Reason.Code
	}
	if c.err != nil {
		r.Err = c.err.Error()
	}
	return r
}

// matches compares whole segments: /healthz covers /healthz and /healthz/db, not /healthzzz. The path is the one checkreq
// accepted, in which no two spellings name the same segment.
func (p PublicRoute) matches(method, path string) bool {
	if method != p.Method || !strings.HasPrefix(path, p.PathPrefix) || p.PathPrefix == "" {
		return false
	}
	return len(path) == len(p.PathPrefix) || strings.HasSuffix(p.PathPrefix, "/") || path[len(p.PathPrefix)] == '/'
}
