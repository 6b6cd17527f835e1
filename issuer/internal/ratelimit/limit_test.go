package ratelimit

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, good := range []Limit{{1, 1}, {PerMinuteMax, BurstMax}, {1, 1440}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []Limit{{}, {0, 1}, {1, 0}, {-1, 1}, {PerMinuteMax + 1, 1}, {1, BurstMax + 1}, {1, 1441}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if d := Defaults(); d.Client.Validate() != nil || d.Source.Validate() != nil || d.Organization.Validate() != nil || d.Instance.Validate() != nil ||
		d.FailuresOfClient.Validate() != nil || d.FailuresOfSource.Validate() != nil || d.FailuresOfInstance.Validate() != nil {
		t.Errorf("the defaults are refused: %+v", d)
	}
}

func check(policy, key string, l Limit) Check { return Check{policy, key, l} }

// Over any times, at most burst + rate * time requests are within a limit, and whoever waits as told is let in.
func TestNeverMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := Limit{rapid.SampledFrom([]int64{1, 30, 60, 700, 60_000, PerMinuteMax}).Draw(t, "rate"), rapid.Int64Range(1, 20).Draw(t, "burst")}
		l, at, n := newLocal(), time.Duration(0), int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			at += time.Duration(rapid.Int64Range(0, int64(limit.interval())*3/2).Draw(t, "pause"))
			c := l.take(together, []Check{check("p", "k", limit)}, at)[0]
			if c.Late == 0 {
				n++
			} else if rapid.Bool().Draw(t, "patient") {
				at += c.Late
				if l.take(together, []Check{check("p", "k", limit)}, at)[0].Late != 0 {
					t.Fatalf("refused after %v as told", c.Late)
				}
				n++
			}
			if most := float64(limit.Burst) + float64(at)/float64(limit.interval()); float64(n) > most {
				t.Fatalf("%d within the limit in %v, at most %v may be", n, at, most)
			}
		}
	})
}

func TestRemaining(t *testing.T) {
	t.Parallel()
	l, limit := newLocal(), Limit{60, 3}
	for want := int64(2); want >= 0; want-- {
		c := l.take(together, []Check{check("p", "k", limit)}, 0)[0]
		if got := c.remaining(limit); got != want || c.Used != time.Duration(3-want)*time.Second {
			t.Errorf("remaining %d, used %v; want %d", got, c.Used, want)
		}
	}
	if c := l.take(together, []Check{check("p", "k", limit)}, 0)[0]; c.remaining(limit) != 0 || c.Late != time.Second {
		t.Errorf("beyond it: %+v", c)
	}
}

// A request beyond one limit is counted against none of them; or, apart, against all others.
func TestTogetherAndApart(t *testing.T) {
	t.Parallel()
	narrow, wide := Limit{60, 1}, Limit{60, 10}
	for m, want := range map[mode]int64{together: 9, apart: 7} {
		l := newLocal()
		checks := []Check{check("narrow", "n", narrow), check("wide", "w", wide)}
		for range 3 {
			l.take(m, checks, 0)
		}
		c := l.take(apart, []Check{check("wide", "other", wide), check("wide", "w", wide)}, 0)
		if got := c[1].remaining(wide) + 1; got != want || c[0].remaining(wide) != 9 {
			t.Errorf("%s: %d remain, want %d", m, got, want)
		}
	}
}

// A limit that was changed, or a clock set back, holds nobody up for longer than a window.
func TestAChangedLimitForgives(t *testing.T) {
	t.Parallel()
	l, old, changed := newLocal(), Limit{1, 1000}, Limit{60, 2}
	for range 1000 {
		l.take(together, []Check{check("p", "k", old)}, 0)
	}
	if c := l.take(together, []Check{check("p", "k", changed)}, 0)[0]; c.Late != time.Second {
		t.Errorf("%+v", c)
	}
	if c := l.take(together, []Check{check("p", "k", changed)}, time.Second)[0]; c.Late != 0 {
		t.Errorf("a second later: %+v", c)
	}
}

// However many keys there are, nobody gets a second bucket while the first is not full, and the number is bounded.
func TestLocalIsBounded(t *testing.T) {
	t.Parallel()
	l, limit := newLocal(), Limit{1, 1}
	for i := range 2 * bucketsMax {
		l.take(together, []Check{check("p", strconv.Itoa(i), limit)}, time.Duration(i)*time.Microsecond)
	}
	if len(l.buckets) > bucketsMax {
		t.Errorf("%d buckets", len(l.buckets))
	}
	if c := l.take(together, []Check{check("p", "0", limit)}, time.Second)[0]; c.Late == 0 {
		t.Error("the first one has a new bucket")
	}
	if c := l.take(together, []Check{check("p", "new", limit)}, time.Second)[0]; c.Late == 0 {
		t.Error("one without room does not share a bucket")
	}
	if c := l.take(together, []Check{check("p", "later", limit)}, 3*time.Minute)[0]; c.Late != 0 {
		t.Error("there is no room when all are full again")
	}
}

func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	n, now := newNotes(), time.Unix(1000, 0)
	n.add("a", now.Add(2*time.Second), now)
	n.add("a", now.Add(time.Second), now)
	if n.left("a", now) != 2*time.Second || n.left("b", now) > 0 || n.left("a", now.Add(2*time.Second)) > 0 {
		t.Error("a note is shortened, or about somebody else")
	}
	for i := range notesMax + 10 {
		n.add(strconv.Itoa(i), now.Add(time.Hour), now)
	}
	if len(n.until) > notesMax || n.left(strconv.Itoa(notesMax+9), now) <= 0 {
		t.Errorf("%d notes", len(n.until))
	}
}
