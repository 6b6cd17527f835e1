package orgpolicy

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/agentidp/agentidp/internal/policy"
)

// residency is one stay of an organization's policy in memory, from the first request that needs it until it is evicted or its folder
// goes. It is the slot of its feed.
type residency struct {
	organization *Organization
	end          context.CancelFunc
	first        chan struct{} // closed once there is a verdict
	slowed       chan struct{} // closed when the first compilation takes so long that nobody should wait for it
	verdict      atomic.Pointer[verdict]
	stale        atomicFlag   // the folder is broken, and what is in force was compiled before
	bytes        atomic.Int64 // see Estimate
	pending      int64        // of what is being compiled; the feed's
}

// verdict is a policy, or why there is none.
type verdict struct {
	policy *InForce
	err    error
}

// atomicFlag is a bool that can be sorted by.
type atomicFlag struct{ atomic.Int32 }

func (f *atomicFlag) set(to bool) {
	if to {
		f.Store(1)
	} else {
		f.Store(0)
	}
}

func (r *residency) decided() (*InForce, error) {
	if v := r.verdict.Load(); v != nil {
		return v.policy, v.err
	}
	return nil, nil
}

// Load implements feed.Slot.
func (r *residency) Load() *policy.Policy {
	if p, _ := r.decided(); p != nil {
		return p.Policy
	}
	return nil
}

// Store implements feed.Slot.
func (r *residency) Store(p *policy.Policy) {
	r.keepQuarantine()
	s := r.organization.set
	next := &InForce{Policy: p, organization: r.organization}
	next.evaluator = next
	if s.cache != nil {
		next.evaluator = s.cache.Bind(next)
	}
	r.verdict.Store(&verdict{policy: next})
	s.mu.Lock()
	defer s.mu.Unlock()
	r.bytes.Store(r.pending)
	s.shrink(r)
}

// judged notes what a read of the folder came to.
func (r *residency) judged(inForce bool, problem error) {
	has := r.Load() != nil
	r.stale.set(!inForce && has)
	if !has && problem != nil {
		r.verdict.Store(&verdict{err: fmt.Errorf("%w: %w", ErrBroken, problem)})
	}
}

// keepQuarantine remembers the quarantine of a policy that goes. Another edit, or being evicted, is no way out of it.
func (r *residency) keepQuarantine() {
	if p := r.Load(); p != nil {
		if until := p.Stats().QuarantinedUntil; !until.IsZero() {
			r.organization.barred.Store(until.UnixNano())
		}
	}
}
