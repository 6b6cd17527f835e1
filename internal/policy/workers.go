package policy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stuckAfter is how long after its cancellation an evaluation may go on before its worker counts as stuck. OPA
	// notices cancellation between two steps; only a single function that runs for long goes beyond this. It is longer
	// than any pause of a busy machine, which must not look like a bad policy.
	stuckAfter = 250 * time.Millisecond

	// stuckReplacedMax is how many stuck workers of one policy are replaced. The places of further ones stay taken until
	// they return: each of them may be holding a processor.
	stuckReplacedMax = 8

	// lastChance is the end of the time of an evaluation, timed apart. When the whole process stood still (a throttled
	// container, a paused machine), the timer and the worker wake up together, and the worker only needs a moment more.
	lastChance = 2 * time.Millisecond
)

// workers evaluates jobs on at most size goroutines, which it keeps: a goroutine that has evaluated before has the stack
// that evaluation needs, and a new one would grow it again (16 % of the peer's processor time).
//
//	do ── slot ──► idle worker, else a new one ──► result ──► do answers, worker idle again
//	 │                        │
//	 └─ deadline: answer ErrTimeout, cancel; stuckAfter later, still running: worker is stuck, its slot is given to a new one
//
// The deadline is of the evaluation, from when it has its slot; the wait for a slot has the same by itself. Neither runs while
// the process gets no processor, up to starvedMax for both together: see span. On a machine with more to do than processors a
// thread may wait for 50 ms for its turn, and an evaluation that used 0.2 ms is not a slow one (docs/adr/0011).
//
// A slot is held from before a job is handed over until its evaluation returned or was declared stuck. Hence whoever holds
// a slot finds a worker that is idle, about to be, or may be started.
type workers struct {
	evaluate func(*job) (any, error)
	overrun  func() // called once for each worker that got stuck

	slots   chan struct{}
	handoff chan *job
	meter   *meter
	closing sync.Once
	closed  chan struct{}
	jobs    sync.Pool

	live      atomic.Int32 // goroutines, stuck and replaced ones not counted
	stuck     atomic.Int32
	timeouts  atomic.Uint64
	overloads atomic.Uint64
	overruns  atomic.Uint64
}

// Stats counts what went wrong with one policy since it was compiled.
type Stats struct {
	Timeouts         uint64    // Eval answered ErrTimeout
	Overloads        uint64    // Eval answered ErrOverloaded
	Overruns         uint64    // evaluations that ignored their cancellation
	Stuck            int       // of these, still running
	Workers          int       // goroutines that evaluate or wait for work
	QuarantinedUntil time.Time // zero when the policy is evaluated
}

func newWorkers(size int, evaluate func(*job) (any, error), overrun func()) *workers {
	return &workers{
		evaluate: evaluate,
		overrun:  overrun,
		slots:    make(chan struct{}, size),
		handoff:  make(chan *job),
		meter:    newMeter(),
		closed:   make(chan struct{}),
	}
}

// States of a job. Its worker moves it from running to finished, the watch from running to one of the other two; only
// one of them succeeds.
const (
	running  int32 = iota
	finished       // its worker gave back the slot
	replaced       // stuck, slot given to another worker: the worker ends when it returns
	stuck          // stuck, slot kept: the worker gives it back when it returns
)

// job is one evaluation. It is OPA's topdown.Cancel for it, too.
type job struct {
	ctx       context.Context
	input     Value
	timer     *time.Timer
	done      chan result // capacity 1: a worker never waits for a caller that left
	cancelled atomic.Bool
	state     atomic.Int32
}

type result struct {
	decision any
	err      error
}

// Cancel implements topdown.Cancel.
func (j *job) Cancel() { j.cancelled.Store(true) }

// Cancelled implements topdown.Cancel.
func (j *job) Cancelled() bool { return j.cancelled.Load() }

func (w *workers) get(ctx context.Context, input Value, timeout time.Duration) *job {
	j, ok := w.jobs.Get().(*job)
	if !ok {
		j = &job{timer: time.NewTimer(timeout), done: make(chan result, 1)}
	} else {
		j.timer.Reset(timeout)
	}
	j.ctx, j.input = ctx, input
	j.state.Store(running)
	return j
}

// put makes a job available again. Only a job whose result was received, or that no worker ever saw, may be put back.
func (w *workers) put(j *job) {
	j.timer.Stop() // since Go 1.23 nothing stale stays in its channel
	j.ctx, j.input = nil, nil
	w.jobs.Put(j)
}

// do evaluates input and answers by the deadline: timeout, or while the machine is starved the greater of timeout and starvedMax.
func (w *workers) do(ctx context.Context, input Value, timeout time.Duration) (any, error) {
	last := min(lastChance, timeout/4)
	began := time.Now()
	s := span{timeout - last, began.Add(max(timeout, starvedMax) - last), w.meter.before(began)}
	j := w.get(ctx, input, s.limit)
	select {
	case w.slots <- struct{}{}:
	default:
		if err := w.await(ctx, j, s); err != nil {
			return nil, err
		}
		began = time.Now()
		s.used = w.meter.before(began)
		j.timer.Reset(min(s.limit, max(0, s.end.Sub(began))))
	}
	w.start(j)
	for final := false; ; {
		select {
		case r := <-j.done:
			w.put(j)
			return r.decision, r.err
		case <-j.timer.C:
			more := w.meter.left(s)
			if more == 0 {
				if final {
					w.abandon(j)
					w.timeouts.Add(1)
					return nil, ErrTimeout
				}
				final, more = true, last
			}
			j.timer.Reset(more)
		case <-ctx.Done():
			w.abandon(j)
			return nil, contextError(ctx.Err())
		}
	}
}

// await returns nil once the caller holds a slot; else the job is given back.
func (w *workers) await(ctx context.Context, j *job, s span) error {
	for {
		select {
		case w.slots <- struct{}{}:
			return nil
		case <-j.timer.C:
			if more := w.meter.left(s); more > 0 {
				j.timer.Reset(more)
				continue
			}
			w.put(j)
			w.overloads.Add(1)
			return ErrOverloaded
		case <-ctx.Done():
			w.put(j)
			return contextError(ctx.Err())
		}
	}
}

// start hands a job to a worker. The caller holds a slot for it.
func (w *workers) start(j *job) {
	select {
	case w.handoff <- j:
		return
	default:
	}
	for {
		n := w.live.Load()
		if int(n) >= cap(w.slots) {
			break
		}
		if w.live.CompareAndSwap(n, n+1) {
			go w.work(j)
			return
		}
	}
	select {
	case w.handoff <- j: // a worker is about to be idle: see the invariant above
	case <-w.closed: // or about to end; the slot bounds how often this happens
		w.live.Add(1)
		go w.work(j)
	}
}

// work evaluates jobs until the workers are closed or it got stuck and was replaced.
func (w *workers) work(j *job) {
	for {
		decision, err := w.evaluate(j)
		if !w.finish(j) {
			return
		}
		j.done <- result{decision, err} // from here on j belongs to its caller
		select {
		case j = <-w.handoff:
		case <-w.closed:
			w.live.Add(-1)
			return
		}
	}
}

// finish gives the slot of an evaluation back and reports whether its worker goes on.
func (w *workers) finish(j *job) bool {
	if !j.state.CompareAndSwap(running, finished) {
		w.stuck.Add(-1)
		if j.state.Load() == replaced {
			return false
		}
	}
	<-w.slots
	return true
}

// abandon cancels an evaluation its caller no longer waits for, and watches that it ends.
func (w *workers) abandon(j *job) {
	j.timer.Stop()
	j.Cancel()
	if j.state.Load() == running {
		time.AfterFunc(stuckAfter, func() { w.checkStuck(j) })
	}
}

func (w *workers) checkStuck(j *job) {
	if j.state.Load() != running {
		return
	}
	next := stuck
	if n := w.stuck.Add(1); n <= stuckReplacedMax {
		next = replaced
	}
	if !j.state.CompareAndSwap(running, next) {
		w.stuck.Add(-1) // it returned in this moment
		return
	}
	if next == replaced {
		w.live.Add(-1)
		<-w.slots
	}
	w.overruns.Add(1)
	w.overrun()
}

func (w *workers) close() { w.closing.Do(func() { close(w.closed) }) }

func (w *workers) stats() Stats {
	return Stats{
		Timeouts:  w.timeouts.Load(),
		Overloads: w.overloads.Load(),
		Overruns:  w.overruns.Load(),
		Stuck:     int(w.stuck.Load()),
		Workers:   int(w.live.Load()),
	}
}
