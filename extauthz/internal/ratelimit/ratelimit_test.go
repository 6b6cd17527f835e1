package ratelimit

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const issuer = "https://issuer.example"

func TestTake(t *testing.T) {
	t.Parallel()
	l, limit := New(start), Limit{Rate: 2, Burst: 3}
	for n, c := range []struct {
		at    time.Duration
		retry time.Duration // 0: taken
	}{
		{0, 0},
		{0, 0},
		{0, 0},
		{0, 500 * time.Millisecond},
		{100 * time.Millisecond, 400 * time.Millisecond},
		{500 * time.Millisecond, 0},
		{500 * time.Millisecond, 500 * time.Millisecond},
		{10 * time.Second, 0},
		{10 * time.Second, 0},
		{10 * time.Second, 0},
		{10 * time.Second, 500 * time.Millisecond},
	} {
		retry, ok := l.Take(issuer, "org_a", limit, start.Add(c.at))
		if retry != c.retry || ok != (c.retry == 0) {
			t.Errorf("request %d at %v: retry %v, %v, want %v", n, c.at, retry, ok, c.retry)
		}
	}
}

// Over any times, at most burst + rate * time requests are taken, and never fewer than that allows for a patient caller.
func TestNeverMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := Limit{Rate: rapid.SampledFrom([]float64{0.5, 1, 3, 10, 333, 1e6}).Draw(t, "rate"), Burst: rapid.IntRange(1, 20).Draw(t, "burst")}
		l, at, n := New(start), time.Duration(0), 0
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			at += time.Duration(rapid.Int64Range(0, limit.interval()*3/2).Draw(t, "pause"))
			retry, ok := l.Take(issuer, "org_a", limit, start.Add(at))
			if ok {
				n++
			} else if _, again := New(start).Take(issuer, "org_a", limit, start.Add(at)); retry <= 0 || retry > time.Duration(limit.interval()) || !again {
				t.Fatalf("retry after %v", retry)
			} else if rapid.Bool().Draw(t, "patient") {
				at += retry
				if _, ok := l.Take(issuer, "org_a", limit, start.Add(at)); !ok {
					t.Fatalf("refused after %v as told", retry)
				}
				n++
			}
			if most := float64(limit.Burst) + float64(at)/float64(limit.interval()); float64(n) > most {
				t.Fatalf("%d taken in %v, at most %v may be", n, at, most)
			}
		}
	})
}

func TestCallersHaveTheirOwnBuckets(t *testing.T) {
	t.Parallel()
	l, limit := New(start), Limit{Rate: 1, Burst: 1}
	for _, caller := range [][2]string{{issuer, "a"}, {issuer, "b"}, {issuer + "a", ""}, {"", issuer + "a"}, {"a", issuer}, {issuer, "ab"}, {issuer + "a", "b"}} {
		if _, ok := l.Take(caller[0], caller[1], limit, start); !ok {
			t.Errorf("%q shares a bucket", caller)
		}
		if _, ok := l.Take(caller[0], caller[1], limit, start); ok {
			t.Errorf("%q is not limited", caller)
		}
	}
	if _, ok := l.Take(issuer, "a", Limit{}, start); !ok {
		t.Error("no limit refuses")
	}
}

// However many callers there are, nobody gets a second bucket while the first is not full, and the number is bounded.
func TestABucketIsNotResetByMakingOthers(t *testing.T) {
	t.Parallel()
	l, limit := New(start), Limit{Rate: 0.1, Burst: 1} // ten seconds
	l.Take(issuer, "victim", limit, start)
	for i := range 2 * BucketsMax {
		l.Take(issuer, strconv.Itoa(i), limit, start.Add(time.Duration(i)*time.Microsecond))
	}
	if _, ok := l.Take(issuer, "victim", limit, start.Add(9*time.Second)); ok {
		t.Error("the bucket was reset")
	}
	buckets, shared := l.Counts()
	if buckets > BucketsMax || shared == 0 {
		t.Errorf("%d buckets, %d requests in shared ones", buckets, shared)
	}
	// Once they are full they make room.
	later := start.Add(time.Minute)
	for i := range 1000 {
		if _, ok := l.Take(issuer, "later"+strconv.Itoa(i), limit, later); !ok {
			t.Fatalf("caller %d has no bucket of its own", i)
		}
	}
	if after, again := l.Counts(); again != shared || after > BucketsMax {
		t.Errorf("%d buckets, %d requests more in shared ones", after, again-shared)
	}
}

// What is taken while buckets are swept is taken from a bucket that stays.
func TestTakingWhileOthersAreForgotten(t *testing.T) {
	t.Parallel()
	b := &bucket{}
	s := shard{buckets: map[key]*bucket{{}: b}}
	if s.sweep(int64(time.Hour)); len(s.buckets) != 0 {
		t.Fatal("a full bucket is kept")
	}
	if _, result := b.take(Limit{1, 1}, int64(time.Hour)); result != gone {
		t.Errorf("%d: counted where nobody looks any more", result)
	}
}

func TestConcurrentTakesCountOnce(t *testing.T) {
	t.Parallel()
	l, limit := New(start), Limit{Rate: 1, Burst: 1000}
	var all sync.WaitGroup
	var n atomic.Int64
	for range 8 {
		all.Go(func() {
			for range 500 {
				if _, ok := l.Take(issuer, "org_a", limit, start); ok {
					n.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n.Load() != 1000 {
		t.Errorf("%d of 4000 were taken, want 1000", n.Load())
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, good := range []Limit{{0.01, 1}, {1e6, 1e6}, {100, 200}, {1, 3600}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for want, bad := range map[string][]Limit{
		"rate":  {{0, 1}, {-1, 1}, {0.009, 1}, {1e6 + 1, 1}, {math.NaN(), 1}, {math.Inf(1), 1}},
		"burst": {{1, 0}, {1, -1}, {1e6, 1e6 + 1}},
		"1h":    {{1, 3601}, {0.01, 1000}},
	} {
		for _, l := range bad {
			if err := l.Validate(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v", l, err)
			}
		}
	}
}

func BenchmarkTake(b *testing.B) {
	l, limit := New(start), Limit{Rate: 1e6, Burst: 1e6}
	names := make([]string, 1000)
	for i := range names {
		names[i] = "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f" + strconv.Itoa(i)
	}
	now := start
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		now = now.Add(time.Microsecond)
		if _, ok := l.Take("https://issuer.example/org/a", names[i%len(names)], limit, now); !ok {
			b.Fatal("limited")
		}
		i++
	}
}
