package ratelimit

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newShared(t *testing.T, url string) *shared {
	t.Helper()
	s, err := openShared(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	return s
}

// patient makes a slow machine no failure.
func (s *shared) patient() *shared {
	o := *s.client.Options()
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	_ = s.client.Close()
	s.client = redis.NewClient(&o)
	return s
}

func (s *shared) must(t *testing.T, m mode, checks ...Check) []Count {
	t.Helper()
	counts, err := s.take(t.Context(), m, checks)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// The script counts as the local arithmetic does. Rates are so low that the time the test takes refills nothing.
func TestScriptCountsAsWeDo(t *testing.T) {
	t.Parallel()
	s := newShared(t, testkit.Redis(t)).patient()
	narrow, wide := Limit{1, 2}, Limit{1, 5}
	l := newLocal()
	for n, step := range []struct {
		m      mode
		checks []Check
	}{
		{together, []Check{check("n", "n", narrow), check("w", "w", wide)}},
		{together, []Check{check("n", "n", narrow), check("w", "w", wide)}},
		{together, []Check{check("n", "n", narrow), check("w", "w", wide)}},
		{apart, []Check{check("n", "n", narrow), check("w", "w", wide)}},
		{together, []Check{check("w", "w", wide)}},
		{together, []Check{check("w", "w", wide), check("x", "x", wide)}},
		{together, []Check{check("w", "w", wide), check("x", "x", wide)}},
		{together, []Check{check("x", "x", narrow)}},
	} {
		got, want := s.must(t, step.m, step.checks...), l.take(step.m, step.checks, 0)
		for i := range want {
			if (got[i].Late > 0) != (want[i].Late > 0) || got[i].remaining(step.checks[i].Limit) != want[i].remaining(step.checks[i].Limit) {
				t.Errorf("step %d, %s: %+v, want %+v", n, step.checks[i].Policy, got[i], want[i])
			}
		}
	}
}

// Many instances at once let exactly the burst through.
func TestInstancesShareALimit(t *testing.T) {
	t.Parallel()
	url := testkit.Redis(t)
	limit, let := Limit{1, 25}, atomic.Int64{}
	var done sync.WaitGroup
	for range 4 {
		s := newShared(t, url).patient()
		for range 5 {
			done.Go(func() {
				for range 10 {
					counts, err := s.take(t.Context(), together, []Check{check("p", "k", limit)})
					if err != nil {
						t.Error(err)
						return
					}
					if counts[0].Late == 0 {
						let.Add(1)
					}
				}
			})
		}
	}
	done.Wait()
	if n := let.Load(); n != limit.Burst {
		t.Errorf("%d were let through, want %d", n, limit.Burst)
	}
}

// Nothing stays in Redis for longer than a window, and what somebody else wrote there is no reason to fail.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	s := newShared(t, testkit.Redis(t)).patient()
	limit := Limit{60, 5}
	s.must(t, together, check("p", "k", limit))
	ttl, err := s.client.PTTL(t.Context(), keyPrefix+"k").Result()
	if err != nil || ttl <= 0 || ttl > limit.window()+time.Second {
		t.Errorf("the key lives for %v, %v", ttl, err)
	}
	// A clock that was set back by a day, or a limit that was changed, is forgiven within a window.
	ahead, ms := time.Now().Add(24*time.Hour).UnixMicro(), Limit{6_000_000, 1}
	if err := s.client.Set(t.Context(), keyPrefix+"ahead", ahead, 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.must(t, apart, check("p", "ahead", ms))
	for begun := time.Now(); s.must(t, apart, check("p", "ahead", ms))[0].Late > 0; {
		if time.Since(begun) > time.Minute {
			t.Fatal("a clock set back locks out")
		}
	}
	for _, odd := range []string{"nonsense", "1e300", "-1", "nan"} {
		if err := s.client.Set(t.Context(), keyPrefix+"odd", odd, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if c := s.must(t, apart, check("p", "odd", limit))[0]; c.Late > limit.window() {
			t.Errorf("%s: %+v", odd, c)
		}
	}
}

// A Redis that was wiped, with its scripts, is used on.
func TestRedisMayBeWiped(t *testing.T) {
	t.Parallel()
	s := newShared(t, testkit.Redis(t)).patient()
	limit := Limit{1, 1}
	s.must(t, together, check("p", "k", limit))
	if c := s.must(t, together, check("p", "k", limit))[0]; c.Late == 0 {
		t.Fatal("not counted")
	}
	for _, wipe := range []error{s.client.FlushAll(t.Context()).Err(), s.client.ScriptFlush(t.Context()).Err()} {
		if wipe != nil {
			t.Fatal(wipe)
		}
	}
	if c := s.must(t, together, check("p", "k", limit))[0]; c.Late != 0 {
		t.Errorf("after the wipe: %+v", c)
	}
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newLimiter(t *testing.T, url string, log *bytes.Buffer) (*Limiter, *clock) {
	t.Helper()
	c := &clock{at: time.Unix(1_000_000, 0)}
	l, err := NewLimiter(url, slog.New(slog.NewTextHandler(log, nil)), c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, c
}

// While Redis is gone each instance lets half through; when it is back, it counts again. One request at a time finds out.
func TestFallsBackToHalfAndRecovers(t *testing.T) {
	t.Parallel()
	dir := testkit.SocketDir(t)
	server, err := localsvc.StartRedis(t.Context(), localsvc.RedisConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	url := server.URL()
	var log bytes.Buffer
	l, c := newLimiter(t, url, &log)
	l.shared.patient()
	limit := Limit{1, 10}
	let := func(key string) (n int) {
		for range 20 {
			if l.take(t.Context(), together, check("p", key, limit))[0].Late == 0 {
				n++
			}
		}
		return n
	}
	if n := let("before"); n != 10 || l.alone() {
		t.Fatalf("%d let through with Redis, alone %v", n, l.alone())
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := let("during"); n != 5 || !l.alone() || l.fallback.Load() != 20 {
		t.Errorf("%d let through without Redis, alone %v, fallback %d", n, l.alone(), l.fallback.Load())
	}
	if n := strings.Count(log.String(), "Redis does not answer"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	c.advance(aloneMax)
	if n := let("still"); n != 5 || l.failures.Load() != 2 {
		t.Errorf("%d let through, asked again %d times", n, l.failures.Load()-1)
	}
	if server, err = localsvc.StartRedis(t.Context(), localsvc.RedisConfig{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer server.Stop() //nolint:errcheck // the test is over
	if n := let("too soon"); n != 5 {
		t.Errorf("%d let through before its time", n)
	}
	c.advance(aloneMax)
	if n := let("after"); n != 10 || l.alone() || !strings.Contains(log.String(), "in Redis again") {
		t.Errorf("%d let through with Redis again, alone %v: %s", n, l.alone(), log.String())
	}
}

// A Redis that takes connections and never answers is given up after a bounded wait, once; while it is asked again, everybody else goes on.
func TestASilentRedisHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	l, c := newLimiter(t, "redis://"+listener.Addr().String(), &bytes.Buffer{})
	l.take(t.Context(), together, check("p", "k", Limit{60, 10}))
	if !l.alone() {
		t.Fatal("waits for a Redis that does not answer")
	}
	c.advance(aloneMax)
	if !l.mayAsk() || l.mayAsk() {
		t.Error("not exactly one asks again")
	}
	l.asking.Store(false)
	_ = l.Close()
	_ = listener.Close()
	for conn := range accepted {
		_ = conn.Close()
	}
}

// A client that goes away says nothing about Redis.
func TestACancelledRequestIsNoFailure(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(t, testkit.Redis(t), &bytes.Buffer{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // the first connection of a busy machine may be late
		l.until.Store(0)
		if l.take(ctx, together, check("p", "k", Limit{60, 10000})); !l.alone() {
			return
		}
	}
	t.Error("a cancelled request counts as a failure of Redis")
}

func TestWithoutRedisLimitsAreWhole(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(t, "", &bytes.Buffer{})
	n := 0
	for range 20 {
		if l.take(t.Context(), together, check("p", "k", Limit{1, 10}))[0].Late == 0 {
			n++
		}
	}
	if n != 10 || l.alone() {
		t.Errorf("%d let through", n)
	}
	if _, err := NewLimiter("http://canary:secret@redis", slog.New(slog.DiscardHandler), time.Now); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a URL of something else: %v", err)
	}
}
