package decisionlog

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/uuid"
)

// The share is what it says, over ids as they are made and over ids that differ in one digit only.
func TestShareIsExact(t *testing.T) {
	t.Parallel()
	const total = 200_000
	for _, part := range []float64{0, 0.01, 0.1, 0.5, 0.999, 1} {
		share := NewShare("log", part)
		made, counted := 0, 0
		for n := range total {
			if share.Has(uuid.Must(uuid.NewV7()).String()) {
				made++
			}
			if share.Has(fmt.Sprintf("019abcde-0000-7000-8000-%012d", n)) {
				counted++
			}
		}
		allowed := 5 * math.Sqrt(total*part*(1-part)) // five standard deviations: one run in a million
		for _, got := range []int{made, counted} {
			if math.Abs(float64(got)-total*part) > allowed {
				t.Errorf("share %v: %d of %d", part, got, total)
			}
		}
	}
}

// An id is in or out for good, and being in one share says nothing about another.
func TestShareIsAFunctionOfTheID(t *testing.T) {
	t.Parallel()
	const total, part = 100_000, 0.5
	one, again, other := NewShare("log", part), NewShare("log", part), NewShare("shadow", part)
	both := 0
	for n := range total {
		id := fmt.Sprint(n)
		if one.Has(id) != again.Has(id) {
			t.Fatalf("%s is in and out", id)
		}
		if one.Has(id) && other.Has(id) {
			both++
		}
	}
	if math.Abs(float64(both)-total*part*part) > 5*math.Sqrt(total*part*part*(1-part*part)) {
		t.Errorf("%d of %d in both shares", both, total)
	}
}

// Denials and what could not be decided are all there; of what was allowed, exactly the share.
func TestSampling(t *testing.T) {
	t.Parallel()
	const each = 1000 // three of each fit the queue
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 0.1})
	share, want := NewShare("log", 0.1), 0
	for n := range each {
		id := fmt.Sprint(n)
		for _, result := range []string{ResultAllowed, ResultDenied, ResultUndecided} {
			l.Add(Record{DecisionID: id, Result: result})
		}
		if share.Has(id) {
			want++
		}
	}
	l.Add(Record{Result: ResultAllowed, Shadow: &Shadow{}}) // a disagreement is never left out
	closed(t, l)
	if got := l.Counts(); len(out.written) != 2*each+want+1 || got.Written != uint64(2*each+want+1) || got.SampledOut != uint64(each-want) || len(got.Dropped) != 0 {
		t.Errorf("%d lines, counted %+v; want %d of %d allowed", len(out.written), got, want, each)
	}
}
