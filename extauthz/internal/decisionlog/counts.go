package decisionlog

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Cause is why a record was not delivered. Closed set: metric label.
type Cause string

const (
	CauseFull     Cause = "full"     // too many records were waiting
	CauseClosed   Cause = "closed"   // it came after Close
	CauseEncode   Cause = "encode"   // it cannot be rendered
	CauseWrite    Cause = "write"    // the file or the pipe did not take it
	CauseRejected Cause = "rejected" // the log service refused the batch it was in
	CauseFailed   Cause = "failed"   // the log service did not answer properly, after all retries
	CauseShutdown Cause = "shutdown" // the process ended first
)

// causes lists them for counting.
var causes = [...]Cause{CauseFull, CauseClosed, CauseEncode, CauseWrite, CauseRejected, CauseFailed, CauseShutdown}

// Counts says what became of every record that was handed over, those still waiting left out.
type Counts struct {
	Written    uint64 // delivered
	SampledOut uint64 // allowed, and not in the sample
	Dropped    map[Cause]uint64
}

type counts struct {
	written    atomic.Uint64
	sampledOut atomic.Uint64
	dropped    [len(causes)]atomic.Uint64
}

func (c *counts) drop(cause Cause, n uint64) {
	for i, known := range causes {
		if cause == known {
			c.dropped[i].Add(n)
			return
		}
	}
	c.drop(CauseWrite, n) // a sink that names no cause
}

// Counts returns the counts so far. A cause that never happened is not in the map.
func (l *Log) Counts() Counts {
	c := Counts{Written: l.counts.written.Load(), SampledOut: l.counts.sampledOut.Load(), Dropped: map[Cause]uint64{}}
	for i, cause := range causes {
		if n := l.counts.dropped[i].Load(); n > 0 {
			c.Dropped[cause] = n
		}
	}
	return c
}

var (
	recordsMetric = prometheus.NewDesc("agentidp_extauthz_decision_log_records_total",
		"Decisions and shadow disagreements by what became of them: written, sampled_out.", []string{"result"}, nil)
	droppedMetric = prometheus.NewDesc("agentidp_extauthz_decision_log_dropped_total",
		"Records that were lost, by cause: full, closed, encode, write, rejected, failed, shutdown.", []string{"cause"}, nil)
)

// Describe implements prometheus.Collector.
func (l *Log) Describe(out chan<- *prometheus.Desc) {
	out <- recordsMetric
	out <- droppedMetric
}

// Collect implements prometheus.Collector.
func (l *Log) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, label string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	counter(recordsMetric, l.counts.written.Load(), "written")
	counter(recordsMetric, l.counts.sampledOut.Load(), "sampled_out")
	for i, cause := range causes {
		counter(droppedMetric, l.counts.dropped[i].Load(), string(cause))
	}
}
