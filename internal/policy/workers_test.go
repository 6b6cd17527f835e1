package policy

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"
)

// stubborn is a profile with a function that no cancellation interrupts: test.wait returns when release is closed. It
// stands for bits.lsh and its kind, but lets a test say when it ends.
func stubborn(release <-chan struct{}) profile {
	return profile{builtins: edgeBuiltins, extra: []function{
		{
			name: "test.wait", decl: types.NewFunction(types.Args(types.A), types.B),
			impl: func(rego.BuiltinContext, []*ast.Term) (*ast.Term, error) {
				<-release
				return ast.InternedTerm(true), nil
			},
		},
		{
			name: "test.panic", decl: types.NewFunction(types.Args(types.S), types.B),
			impl: func(_ rego.BuiltinContext, terms []*ast.Term) (*ast.Term, error) { panic(terms[0].Value) },
		},
	}}
}

const waitWhenAsked = `package t
default allow := false
allow if input.wait == false
allow if { input.wait == true; test.wait(1) }
`

var (
	wait = Object(Member{"wait", Bool(true)})
	pass = Object(Member{"wait", Bool(false)})
)

func waiting(t *testing.T, release <-chan struct{}, cfg Config) *Policy {
	t.Helper()
	cfg.Path = "t/allow"
	p := mustCompileSources(t, cfg, stubborn(release), Source{"t.rego", []byte(waitWhenAsked)})
	gets(p, 1) // test.wait waits instead of calculating
	return p
}

// gets lets a policy believe that the process got this share of a processor from now on.
func gets(p *Policy, share float64) {
	began := time.Now()
	p.engine.workers.meter = &meter{read: func() time.Duration { return time.Duration(share * float64(time.Since(began))) }}
}

func wantEval(t *testing.T, p *Policy, input Value, want any, wantErr error) {
	t.Helper()
	got, err := p.Eval(context.Background(), input)
	if got != want || !errors.Is(err, wantErr) {
		t.Errorf("Eval = %v, %v; want %v, %v", got, err, want, wantErr)
	}
}

func TestEvalAnswersAtItsDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := waiting(t, release, Config{EvalTimeout: 25 * time.Millisecond, Workers: 2})
		start := time.Now()
		wantEval(t, p, wait, nil, ErrTimeout)
		if d := time.Since(start); d != 25*time.Millisecond {
			t.Errorf("answered after %v, want 25ms", d)
		}
		if s := p.Stats(); s.Timeouts != 1 || s.Overruns != 0 || s.Stuck != 0 {
			t.Errorf("stats %+v", s)
		}
		close(release) // it comes back within its grace: a slow evaluation, not a stuck one
		time.Sleep(time.Second)
		if s := p.Stats(); s.Overruns != 0 || s.Stuck != 0 || s.Workers != 1 {
			t.Errorf("stats after its return %+v", s)
		}
		wantEval(t, p, pass, true, nil)
	})
}

// The deadline is of the evaluation: while the machine gives the process no processor it does not run, up to a bound.
func TestDeadlineOnAStarvedMachine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		share   float64 // of a processor
		timeout time.Duration
		want    time.Duration
	}{
		"a processor":              {1, 25 * time.Millisecond, 25 * time.Millisecond},
		"two":                      {2, 25 * time.Millisecond, 25 * time.Millisecond},
		"half of one":              {0.5, 24 * time.Millisecond, 46 * time.Millisecond}, // twice 22, and the last chance
		"next to nothing":          {0.01, 25 * time.Millisecond, starvedMax},
		"nothing":                  {0, 25 * time.Millisecond, starvedMax},
		"nothing, with a long one": {0, 200 * time.Millisecond, 200 * time.Millisecond},
		"half, with a long one":    {0.5, 200 * time.Millisecond, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				p := waiting(t, release, Config{EvalTimeout: tc.timeout, Workers: 1})
				gets(p, tc.share)
				start := time.Now()
				wantEval(t, p, wait, nil, ErrTimeout)
				if got := time.Since(start); got < tc.want-time.Microsecond || got > tc.want+waitMin { // floating point, and the shortest wait
					t.Errorf("answered after %v, want %v", got, tc.want)
				}
				start = time.Now()
				wantEval(t, p, pass, nil, ErrOverloaded) // the only worker is busy: the same patience
				if got := time.Since(start); got > tc.want {
					t.Errorf("overload answered after %v, want %v at most", got, tc.want)
				}
				close(release)
				synctest.Wait()
				wantEval(t, p, pass, true, nil)
			})
		})
	}
}

// Whatever the wait for a worker took, the evaluation has its own time, and both together are bounded.
func TestDeadlineDoesNotCountTheQueue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ timeout, queued, evaluated time.Duration }{
		{25 * time.Millisecond, 20 * time.Millisecond, 25 * time.Millisecond},
		{200 * time.Millisecond, 150 * time.Millisecond, 50 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			p := waiting(t, release, Config{EvalTimeout: tc.timeout, Workers: 1})
			p.engine.workers.slots <- struct{}{} // somebody's
			time.AfterFunc(tc.queued, func() { <-p.engine.workers.slots })
			start := time.Now()
			wantEval(t, p, wait, nil, ErrTimeout)
			if got, want := time.Since(start), tc.queued+tc.evaluated; got != want {
				t.Errorf("answered after %v, want %v", got, want)
			}
			close(release)
		})
	}
}

// An evaluation that had to wait for the processor gets its answer out.
func TestStarvedEvaluationIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := waiting(t, release, Config{EvalTimeout: 25 * time.Millisecond, Workers: 1})
		gets(p, 0)
		time.AfterFunc(140*time.Millisecond, func() { close(release) })
		wantEval(t, p, wait, true, nil)
		if s := p.Stats(); s.Timeouts != 0 || s.Overruns != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestMeter(t *testing.T) {
	t.Parallel()
	m := newMeter()
	start := time.Now()
	first := m.before(start)
	if again := m.before(start.Add(sampleMax)); again != first {
		t.Errorf("read again after %v", sampleMax)
	}
	for m.read() == first { // a processor is used up
	}
	if later := m.before(start.Add(sampleMax + 1)); later <= first {
		t.Errorf("%v, then %v: an old reading stands for the beginning", first, later)
	}
	if back := m.before(start.Add(-time.Hour)); back < first {
		t.Errorf("%v on a clock that went back", back)
	}
}

func TestStuckWorkersAreReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := waiting(t, release, Config{EvalTimeout: evalTimeoutDefault, Workers: 1})
		wantEval(t, p, wait, nil, ErrTimeout)
		wantEval(t, p, pass, nil, ErrOverloaded) // the only worker is stuck, but not yet known to be
		time.Sleep(stuckAfter)
		wantEval(t, p, pass, true, nil)
		if s := p.Stats(); s.Overruns != 1 || s.Stuck != 1 || s.Workers != 1 || s.Overloads != 1 {
			t.Errorf("stats %+v", s)
		}
		close(release)
		synctest.Wait()
		if s := p.Stats(); s.Stuck != 0 || s.Workers != 1 {
			t.Errorf("stats after its return %+v", s)
		}
	})
}

func TestReplacementsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		const workers = 3
		p := waiting(t, release, Config{EvalTimeout: evalTimeoutDefault, Workers: workers})
		p.engine.quarantine.now = func() time.Time { return time.Time{} } // a clock that stands still forgets nothing …
		p.engine.workers.overrun = func() {}                              // … so the quarantine is told nothing
		for range stuckReplacedMax + workers {
			wantEval(t, p, wait, nil, ErrTimeout)
			time.Sleep(stuckAfter)
		}
		wantEval(t, p, pass, nil, ErrOverloaded)
		if s := p.Stats(); s.Stuck != stuckReplacedMax+workers || s.Workers != workers {
			t.Errorf("stats %+v", s)
		}
		close(release)
		synctest.Wait()
		wantEval(t, p, pass, true, nil)
		if s := p.Stats(); s.Stuck != 0 || s.Workers != workers {
			t.Errorf("stats after their return %+v", s)
		}
	})
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := waiting(t, release, Config{EvalTimeout: evalTimeoutDefault, Workers: 4})
		overrun := func() {
			wantEval(t, p, wait, nil, ErrTimeout)
			time.Sleep(stuckAfter + time.Millisecond)
		}
		for range overrunsMax {
			wantEval(t, p, pass, true, nil)
			overrun()
		}
		wantEval(t, p, pass, nil, ErrQuarantined)
		if until := time.Until(p.Stats().QuarantinedUntil); until <= 0 || until > quarantineBackoff {
			t.Errorf("quarantine ends in %v", until)
		}
		time.Sleep(quarantineBackoff)
		if !p.Stats().QuarantinedUntil.IsZero() {
			t.Error("quarantine did not end")
		}
		wantEval(t, p, pass, true, nil) // tried again
		overrun()                       // one more is enough now, and for twice as long
		wantEval(t, p, pass, nil, ErrQuarantined)
		time.Sleep(quarantineBackoff)
		wantEval(t, p, pass, nil, ErrQuarantined)
		time.Sleep(quarantineBackoff)
		wantEval(t, p, pass, true, nil)
		time.Sleep(overrunWindow + quarantineBackoff) // long enough ago: forgotten
		overrun()
		wantEval(t, p, pass, true, nil)
		close(release)
	})
}

func TestQuarantineBackoffIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	q := quarantine{now: func() time.Time { return now }}
	for range 50 {
		q.overrun()
		if until := q.end(); !until.IsZero() {
			if until.Sub(now) > quarantineBackoffMax {
				t.Fatalf("quarantine of %v", until.Sub(now))
			}
			now = until
		}
	}
	if q.backoff != quarantineBackoffMax {
		t.Errorf("backoff after 50 overruns is %v, want %v", q.backoff, quarantineBackoffMax)
	}
}

func TestEvalHonoursItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		p := waiting(t, release, Config{EvalTimeout: time.Second, Workers: 1})

		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := p.Eval(ended, pass); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		soon, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := p.Eval(soon, wait); !errors.Is(err, ErrTimeout) || time.Since(start) != 10*time.Millisecond {
			t.Errorf("with a short deadline: %v after %v", err, time.Since(start))
		}
		queued, cancel := context.WithCancel(context.Background())
		time.AfterFunc(5*time.Millisecond, cancel)
		if _, err := p.Eval(queued, pass); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while it waited for a worker: %v", err)
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	p := mustCompileSources(t, Config{Path: "t/allow", EvalTimeout: evalTimeoutDefault, Workers: 1}, stubborn(nil),
		Source{"t.rego", []byte("package t\nallow if test.panic(input.text)\nallow if input.text == \"\"")})
	for range 3 {
		_, err := p.Eval(context.Background(), Object(Member{"text", String("boom\n" + string(make([]byte, 500)))}))
		if !errors.Is(err, ErrPanicked) || len(err.Error()) > 300 {
			t.Errorf("Eval = %v", err)
		}
		wantEval(t, p, Object(Member{"text", String("")}), nil, ErrPanicked)
	}
	if s := p.Stats(); s.Workers != 1 || s.Overruns != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestConcurrentEvalGetsItsOwnAnswer(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, "t/echo", Config{Workers: 3, EvalTimeout: 10 * time.Second}, "package t\necho := input.n")
	var wg sync.WaitGroup
	for c := range int64(16) {
		wg.Go(func() {
			for i := range int64(200) {
				n := c*1000 + i
				got, err := p.Eval(context.Background(), Object(Member{"n", Int(n)}))
				if want := Int(n).String(); err != nil || numberText(got) != want {
					t.Errorf("got %v, %v; want %s", got, err, want)
					return
				}
				if n == 7050 {
					p.Close() // in the middle of it: nobody notices
				}
			}
		})
	}
	wg.Wait()
}

func TestCloseLetsEveryWorkerGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the bubble does not end before all its goroutines have
		p := waiting(t, nil, Config{EvalTimeout: evalTimeoutDefault, Workers: 4})
		wantEval(t, p, pass, true, nil)
		if n := p.Stats().Workers; n != 1 {
			t.Errorf("%d workers, want 1", n)
		}
		p.Close()
		p.Close()
		synctest.Wait()
		if n := p.Stats().Workers; n != 0 {
			t.Errorf("%d workers after Close", n)
		}
		wantEval(t, p, pass, true, nil) // a request that still holds the policy
		synctest.Wait()
		if n := p.Stats().Workers; n != 0 {
			t.Errorf("%d workers after the last Eval", n)
		}
	})
}
