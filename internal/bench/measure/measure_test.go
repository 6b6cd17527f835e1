package measure_test

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{8, 1, 2, 4}, 3}} {
		if got := measure.Median(c.values); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(measure.Median(nil)) {
		t.Error("the median of nothing is a number")
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		values []time.Duration
		q      float64
		want   time.Duration
	}{
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.991, 100},
		{hundred, 1, 100},
		{hundred, 0, 1},
		{hundred[:1], 0.99, 1},
		{nil, 0.5, 0},
	} {
		if got := measure.Percentile(c.values, c.q); got != c.want {
			t.Errorf("Percentile(%d values, %v) = %d, want %d", len(c.values), c.q, got, c.want)
		}
	}
}

func TestProcess(t *testing.T) {
	t.Parallel()
	own, err := measure.CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	machine, err := measure.Busy()
	if err != nil {
		t.Fatal(err)
	}
	for spent := own; spent < own+50*time.Millisecond; { // work until the kernel has noticed
		if spent, err = measure.CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	later, err := measure.Busy()
	if err != nil || later-machine < 30*time.Millisecond {
		t.Errorf("50 ms of work, and the machine counts %v (%v)", later-machine, err)
	}
	if rss, err := measure.RSS(os.Getpid()); err != nil || rss < 1<<20 || rss > 1<<34 {
		t.Errorf("RSS of this test: %d, %v", rss, err)
	}
	const nobody = math.MaxInt32
	if _, err := measure.CPU(nobody); err == nil {
		t.Error("CPU of a process that does not exist")
	}
	if _, err := measure.RSS(nobody); err == nil {
		t.Error("RSS of a process that does not exist")
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	if m := measure.Machine(); !strings.Contains(m, "CPUs") || !strings.Contains(m, "go1.") || strings.Contains(m, "unknown") {
		t.Errorf("Machine() = %q", m)
	}
	if len(strings.Fields(measure.LoadAverage())) != 3 {
		t.Errorf("LoadAverage() = %q", measure.LoadAverage())
	}
}
