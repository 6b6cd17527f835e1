package obs

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Limits of what waits to be exported.
const (
	tracedMax     = 1024 // requests, each with its stages: at most some 4 MiB
	batchSpansMax = 512  // in one export, about
	exportWait    = time.Second
	flushMax      = 2 * time.Second
)

// dropCause is why a span was not exported. Closed set: metric label.
type dropCause int

const (
	dropFull     dropCause = iota // too many were waiting
	dropClosed                    // it came after the end
	dropRejected                  // the collector refused the batch
	dropFailed                    // the collector did not answer properly, after all retries
	dropShutdown                  // the process ended first
	dropCauses
)

func (c dropCause) String() string {
	return [dropCauses]string{"full", "closed", "rejected", "failed", "shutdown"}[c]
}

// spanQueue stands between requests and the collector: bounded, and never waited for. Every span that is added ends in one of its counters.
type spanQueue struct {
	export   spanExport
	queue    chan []*tracev1.Span
	exported atomic.Uint64
	dropped  [dropCauses]atomic.Uint64

	closing sync.RWMutex // held for reading while spans are handed over
	closed  bool
	ctx     context.Context // ends when nobody waits for exports any more
	abandon context.CancelFunc
	done    chan struct{}

	spansMetric, droppedMetric *prometheus.Desc
}

// newSpanQueue makes a queue that run empties.
func newSpanQueue(e spanExport, prefix string) *spanQueue {
	q := &spanQueue{
		export: e, queue: make(chan []*tracev1.Span, tracedMax), done: make(chan struct{}),
		spansMetric: prometheus.NewDesc(prefix+"_trace_spans_exported_total", "Spans the collector took.", nil, nil),
		droppedMetric: prometheus.NewDesc(prefix+"_trace_spans_dropped_total",
			"Spans that were lost, by cause: full, closed, rejected, failed, shutdown.", []string{"cause"}, nil),
	}
	q.ctx, q.abandon = context.WithCancel(context.Background())
	return q
}

// add takes the spans of one request, or drops them.
func (q *spanQueue) add(spans []*tracev1.Span) {
	q.closing.RLock()
	defer q.closing.RUnlock()
	if q.closed {
		q.drop(dropClosed, len(spans))
		return
	}
	select {
	case q.queue <- spans:
	default:
		q.drop(dropFull, len(spans))
	}
}

func (q *spanQueue) drop(cause dropCause, n int) { q.dropped[cause].Add(uint64(n)) }

// close exports what is queued and returns when that is done, after flushMax at the latest.
func (q *spanQueue) close() {
	q.closing.Lock()
	if !q.closed {
		q.closed = true
		close(q.queue)
	}
	q.closing.Unlock()
	over := time.AfterFunc(flushMax, q.abandon)
	defer over.Stop()
	defer q.abandon()
	<-q.done // soon after abandon at the latest: an export ends with its context
}

func (q *spanQueue) run() {
	defer close(q.done)
	for spans := range q.queue {
		batch := q.collect(spans)
		lost := q.export.send(q.ctx, batch)
		if lost == nil {
			q.exported.Add(uint64(len(batch)))
		} else {
			q.drop(*lost, len(batch))
		}
	}
}

// collect adds to a batch until it is full, its time is over, or no more spans can come.
func (q *spanQueue) collect(batch []*tracev1.Span) []*tracev1.Span {
	over := time.NewTimer(q.export.wait)
	defer over.Stop()
	for len(batch) < batchSpansMax {
		select {
		case spans, ok := <-q.queue:
			if !ok {
				return batch
			}
			batch = append(batch, spans...)
		case <-over.C:
			return batch
		}
	}
	return batch
}

// Describe implements prometheus.Collector.
func (q *spanQueue) Describe(out chan<- *prometheus.Desc) {
	out <- q.spansMetric
	out <- q.droppedMetric
}

// Collect implements prometheus.Collector.
func (q *spanQueue) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(q.spansMetric, prometheus.CounterValue, float64(q.exported.Load()))
	for cause := range dropCauses {
		out <- prometheus.MustNewConstMetric(q.droppedMetric, prometheus.CounterValue, float64(q.dropped[cause].Load()), cause.String())
	}
}
