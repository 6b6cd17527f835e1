package orgpolicy

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/internal/policy"
)

const (
	// inFlightMax is how many requests may wait for one organization, for its policy to be compiled or for its workers. Envoy has at most
	// 250 checks open on a connection, whoever they are about.
	inFlightMax = 64

	// usedEvery is how often it is noted that a policy is used.
	usedEvery = time.Millisecond

	// Time that evaluations of one organization may spend beyond their deadline: overdraft at once, then one part in overdraftShare of a
	// processor. A policy that heeds its cancellation, and so is never in quarantine, could have one all the time otherwise.
	overdraft      = 400 * time.Millisecond
	overdraftShare = 10
)

// Organization is one that has a policy. It lasts as long as its folder; what it did wrong is remembered however often its policy is
// edited, evicted and compiled again.
type Organization struct {
	id        string
	set       *Set
	current   atomic.Pointer[residency] // nil: nothing is compiled
	used      atomic.Int64              // Unix nanoseconds
	inFlight  atomic.Int32
	owing     atomic.Int64  // Unix nanoseconds: until when the time that was overdrawn counts
	barred    atomic.Int64  // Unix nanoseconds: the quarantine of an earlier policy
	compiling chan struct{} // holds one while a compilation of this organization goes on, also one nobody waits for
	gone      bool          // guarded by set.mu
}

func (s *Set) newOrganization(id string) *Organization {
	return &Organization{id: id, set: s, compiling: make(chan struct{}, 1)}
}

// InForce is a policy of an organization. It is evaluated within what is left of the organization's budget.
type InForce struct {
	*policy.Policy
	organization *Organization
	evaluator    decide.Evaluator
}

// Evaluator is what is to be asked: the policy, as the decision cache knows it.
func (p *InForce) Evaluator() decide.Evaluator { return p.evaluator }

// Eval implements decide.Evaluator.
func (p *InForce) Eval(ctx context.Context, input policy.Value) (any, error) {
	o := p.organization
	if time.Now().UnixNano() < o.barred.Load() {
		return nil, policy.ErrQuarantined
	}
	if o.overdrawn(time.Now()) || !o.enter() {
		return nil, policy.ErrOverloaded
	}
	defer o.leave()
	began := time.Now()
	result, err := p.Policy.Eval(ctx, input)
	if errors.Is(err, policy.ErrTimeout) || err != nil && ctx.Err() != nil {
		o.charge(time.Now(), time.Since(began))
	}
	return result, err
}

// InForce returns the policy to decide by, or why there is none; neither when somebody must wait for it.
func (o *Organization) InForce(now time.Time) (*InForce, error) {
	if at := now.UnixNano(); at-o.used.Load() > int64(usedEvery) {
		o.used.Store(at)
	}
	if r := o.current.Load(); r != nil {
		return r.decided()
	}
	return nil, nil
}

// Await returns the policy to decide by, which is compiled for this purpose if nobody did so before. It waits until shortly before the
// deadline of ctx; the error is ErrLoading or wraps ErrBroken.
func (o *Organization) Await(ctx context.Context) (*InForce, error) {
	r := o.current.Load()
	if r == nil {
		if r = o.set.admit(o); r == nil {
			return nil, ErrLoading
		}
	}
	if p, err := r.decided(); p != nil || err != nil {
		return p, err
	}
	if !o.enter() {
		return nil, ErrLoading
	}
	defer o.leave()
	timer := time.NewTimer(o.set.waits.of(ctx))
	defer timer.Stop()
	select {
	case <-r.first:
	case <-r.slowed:
	case <-timer.C:
	case <-ctx.Done():
	}
	if p, err := r.decided(); p != nil || err != nil {
		return p, err
	}
	return nil, ErrLoading
}

func (o *Organization) enter() bool {
	if o.inFlight.Add(1) > inFlightMax {
		o.inFlight.Add(-1)
		return false
	}
	return true
}

func (o *Organization) leave() { o.inFlight.Add(-1) }

func (o *Organization) overdrawn(now time.Time) bool {
	return o.owing.Load()-now.UnixNano() >= int64(overdraft*overdraftShare)
}

// charge notes time that was spent for nothing.
func (o *Organization) charge(now time.Time, spent time.Duration) {
	for {
		owing := o.owing.Load()
		if o.owing.CompareAndSwap(owing, max(owing, now.UnixNano())+int64(spent*overdraftShare)) {
			return
		}
	}
}
