package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	overrunsMax          = 3                // within overrunWindow, before a policy is put in quarantine
	overrunWindow        = 15 * time.Minute // overruns further apart are taken for accidents
	quarantineBackoff    = 30 * time.Second // the first time; doubled each further time
	quarantineBackoffMax = 5 * time.Minute  // two of them fit the window: one overrun after it is enough for the next
)

// quarantine stops the evaluation of a policy that keeps overrunning its deadline. When its time is over the policy is
// tried again; one more overrun puts it back for longer.
type quarantine struct {
	now   func() time.Time
	until atomic.Pointer[time.Time] // nil as long as there never was one: the only thing a good policy pays for

	mu       sync.Mutex
	overruns []time.Time // the last ones, at most overrunsMax
	backoff  time.Duration
}

// check returns ErrQuarantined while the policy must not be evaluated.
func (q *quarantine) check() error {
	if until := q.until.Load(); until != nil && q.now().Before(*until) {
		return ErrQuarantined
	}
	return nil
}

// end returns when the quarantine ends, or zero when there is none.
func (q *quarantine) end() time.Time {
	if until := q.until.Load(); until != nil && q.now().Before(*until) {
		return *until
	}
	return time.Time{}
}

// overrun notes one evaluation that ignored its cancellation.
func (q *quarantine) overrun() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	if n := len(q.overruns); n > 0 && now.Sub(q.overruns[n-1]) > overrunWindow {
		q.overruns, q.backoff = nil, 0
	}
	if len(q.overruns) == overrunsMax {
		q.overruns = q.overruns[1:]
	}
	q.overruns = append(q.overruns, now)
	if len(q.overruns) < overrunsMax || now.Sub(q.overruns[0]) > overrunWindow {
		return
	}
	if q.end().After(now) {
		return // several workers got stuck together: one quarantine for all
	}
	q.backoff = min(max(2*q.backoff, quarantineBackoff), quarantineBackoffMax)
	until := now.Add(q.backoff)
	q.until.Store(&until)
}
