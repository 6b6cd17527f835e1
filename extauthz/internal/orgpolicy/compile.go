package orgpolicy

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/agentidp/agentidp/internal/policy"
)

// What a compiled policy takes, at most, per byte of its sources: measured with sources made to take much (TestEstimateIsHonest). Usual
// Rego takes a quarter of it.
const (
	bytesFixed   = 160 << 10
	bytesPerRego = 192
	bytesPerData = 56
)

// Estimate is the memory that a policy takes once it is compiled, at most.
func Estimate(sources []policy.Source) int64 {
	n := int64(bytesFixed)
	for _, s := range sources {
		if strings.HasSuffix(s.Name, ".rego") {
			n += bytesPerRego * int64(len(s.Data))
		} else {
			n += bytesPerData * int64(len(s.Data))
		}
	}
	return n
}

// waits are durations that nobody configures.
type waits struct {
	request time.Duration // a request waits for a compilation, at most
	reserve time.Duration // of its deadline, for the evaluation and the answer
	slow    time.Duration // a compilation keeps its slot
	slowMax int32         // compilations that may go on without one
}

// slow: two thousand rules compile in 0.15 s. OPA's compiler takes minutes for some sources of 100 KB, and cannot be interrupted.
var usualWaits = waits{request: 200 * time.Millisecond, reserve: 50 * time.Millisecond, slow: 2 * time.Second, slowMax: 4}

// of returns how long a request may wait.
func (w waits) of(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(w.request, time.Until(deadline)-w.reserve)
	}
	return w.request
}

// compileFor compiles sources of one organization: not more than one at a time of each, also when nobody waits for the one before any
// more, and not more of all than there are slots. One that takes long gives its slot to others and goes on.
func (s *Set) compileFor(ctx context.Context, r *residency, sources []policy.Source) (*policy.Policy, error) {
	r.pending = Estimate(sources)
	if err := s.check(r.pending); err != nil {
		s.refused.Add(1)
		return nil, err
	}
	o := r.organization
	if err := acquire(ctx, o.compiling); err != nil {
		return nil, err
	}
	if err := acquire(ctx, s.slots); err != nil {
		<-o.compiling
		return nil, err
	}
	type outcome struct {
		policy *policy.Policy
		err    error
	}
	done := make(chan outcome, 1)
	l := &lease{set: s, residency: r}
	late := time.AfterFunc(s.waits.slow, l.late)
	go func() {
		p, err := s.compile(context.WithoutCancel(ctx), sources, s.cfg.Policy)
		late.Stop()
		l.end()
		<-o.compiling
		done <- outcome{p, err} // a policy nobody waits for is collected
	}()
	select {
	case got := <-done:
		if got.err != nil {
			s.refused.Add(1)
		} else {
			s.compiled.Add(1)
		}
		return got.policy, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lease is a slot that is held by a compilation.
type lease struct {
	set       *Set
	residency *residency
	mu        sync.Mutex
	ended     bool
	without   bool // the slot was given back
}

// late gives the slot to others, unless too many go on without one, and tells requests not to wait.
func (l *lease) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if r := l.residency; r.verdict.Load() == nil {
		close(r.slowed)
	}
	l.set.cfg.Log.Warn("compiling the policy of an organization takes long", "organization", l.residency.organization.id)
	if l.set.slow.Add(1) > l.set.waits.slowMax {
		l.set.slow.Add(-1)
		return
	}
	l.without = true
	<-l.set.slots
}

func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.without {
		l.set.slow.Add(-1)
	} else {
		<-l.set.slots
	}
}
