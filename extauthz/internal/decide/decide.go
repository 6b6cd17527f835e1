// Package decide asks the policy. The input document is the one opa-envoy-plugin builds, as its code builds it and not
// as its manual says (numbers are numbers, time is {seconds, nanos}, what is not set is absent), with input.identity
// added; the answer has the forms that plugin accepts, with a reason added. Policies written for it run unchanged.
//
// Nothing unclear allows: an undefined decision, a wrong type, a change the policy may not make is a fault of the policy,
// and the request cannot be decided.
package decide

import (
	"context"
	"errors"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
)

// Evaluator is a compiled policy; *policy.Policy is one.
type Evaluator interface {
	Eval(ctx context.Context, input policy.Value) (any, error)
}

// Reason is why nothing was decided. Closed set: metric label, decision log.
type Reason string

const (
	ReasonTimeout    Reason = "policy_timeout"    // the policy, or the request, ran out of time
	ReasonOverloaded Reason = "policy_overloaded" // too many evaluations at once, or the policy is in quarantine
	ReasonUndefined  Reason = "policy_undefined"  // the policy has no decision for this input
	ReasonFailed     Reason = "policy_failed"     // the evaluation ended with an error
	ReasonDecision   Reason = "policy_decision"   // the decision is not one this package understands
	ReasonInput      Reason = "policy_input"      // the request cannot be shown to a policy
)

// Fault says why the request cannot be decided. Err is for operators.
type Fault struct {
	Reason Reason
	Err    error
}

func (f *Fault) Error() string { return string(f.Reason) + ": " + f.Err.Error() }

func (f *Fault) Unwrap() error { return f.Err }

// Subject is what is decided about.
type Subject struct {
	Request  *checkreq.Request
	Identity *identity.Identity // nil: nobody is known
	ShowAuth bool               // the policy sees the token (identity: policy, or policy.showToken)

	// How every request of this process is shown to its policy. Both change what an input is made of but never from one
	// request to the next, so a cache needs neither in its key: parsed_body and truncated_body depend on the body, its
	// headers and (gRPC) the path alone.
	SkipBody    bool         // parsed_body and truncated_body are absent
	Descriptors *Descriptors // of gRPC bodies; nil shows none

	// Issuer is that of Identity, and Now the time of the request: what a Cache keeps a decision by.
	Issuer *state.Issuer
	Now    time.Time

	only *policy.ReadSet // what the policy reads; nil is everything
}

// reads reports whether the policy can tell an input with the member at path from one without.
func (s *Subject) reads(path ...string) bool { return s.only == nil || s.only.Reads(path...) }

// Decide asks the policy. Exactly one of the three is not nil: a decision, a refusal of the request (a body that is not
// what it says it is), or a fault.
func Decide(ctx context.Context, p Evaluator, s Subject) (*Decision, *checkreq.Refusal, *Fault) {
	if known, ok := p.(interface{ ReadSet() policy.ReadSet }); ok {
		set := known.ReadSet()
		s.only = &set
	}
	input, refusal, err := Input(s)
	if refusal != nil {
		return nil, refusal, nil
	}
	if err != nil {
		return nil, nil, &Fault{ReasonInput, err}
	}
	result, err := p.Eval(ctx, input)
	if err != nil {
		return nil, nil, &Fault{evaluationReason(err), err}
	}
	decision, err := parse(result)
	if err != nil {
		return nil, nil, &Fault{ReasonDecision, err}
	}
	return decision, nil, nil
}

func evaluationReason(err error) Reason {
	switch {
	case errors.Is(err, policy.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return ReasonTimeout
	case errors.Is(err, policy.ErrOverloaded), errors.Is(err, policy.ErrQuarantined):
		return ReasonOverloaded
	case errors.Is(err, policy.ErrUndefined):
		return ReasonUndefined
	default:
		return ReasonFailed
	}
}
