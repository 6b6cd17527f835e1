// Package decisionlog writes what was decided, one JSON document each, in the shape of OPA's decision logs (EventV1), so that
// whatever reads those reads these. Writing happens behind the request: a request hands over a record and goes on. The
// buffer is bounded; what does not fit is dropped and counted, never waited for. Credentials are masked before anything is
// encoded. Every record that was handed over ends in exactly one of Log.Counts.
package decisionlog

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what waits to be written.
const (
	recordsMax = 4096     // records
	bytesMax   = 16 << 20 // bytes of headers and bodies they hold on to
)

// Config of a log.
type Config struct {
	Labels        map[string]string // name the process in every line
	SampleAllowed float64           // share of the allowed decisions that is logged, by decision id; denials always are
	Mask          []string          // pointers (see CheckPointer) to members that are left out
}

// Log takes records and writes them in the background. It is safe for concurrent use.
type Log struct {
	sink    Sink
	labels  map[string]string
	sample  Share
	mask    []pointer
	queue   chan Record
	pending atomic.Int64 // bytes held by queued records
	counts  counts

	closing sync.RWMutex // held for reading while a record is handed over
	closed  bool
	ctx     context.Context // ends when the log stops trying
	abandon context.CancelFunc
	done    chan struct{}
}

// New starts a log that writes to sink. The pointers of cfg.Mask must be good ones. Close it.
func New(sink Sink, cfg Config) *Log {
	l := &Log{
		sink: sink, labels: cfg.Labels, sample: NewShare("log", cfg.SampleAllowed), mask: pointers(cfg.Mask),
		queue: make(chan Record, recordsMax), done: make(chan struct{}),
	}
	l.ctx, l.abandon = context.WithCancel(context.Background())
	go l.write()
	return l
}

// Add hands a record over. It never blocks; a record that does not fit, or comes after Close, is dropped and counted.
// What the record points to must not change any more.
func (l *Log) Add(r Record) {
	if r.Shadow == nil && !r.Overruled && r.Result == ResultAllowed && !l.sample.Has(r.DecisionID) {
		l.counts.sampledOut.Add(1)
		return
	}
	size := r.Size()
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed {
		l.counts.drop(CauseClosed, 1)
		return
	}
	if l.pending.Add(size) > bytesMax {
		l.pending.Add(-size)
		l.counts.drop(CauseFull, 1)
		return
	}
	select {
	case l.queue <- r:
	default:
		l.pending.Add(-size)
		l.counts.drop(CauseFull, 1)
	}
}

// Close delivers what is queued and returns when that is done. When ctx ends first, what is left is given up and counted, and
// the error says so. It does not close the sink.
func (l *Log) Close(ctx context.Context) error {
	l.closing.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.closing.Unlock()
	defer l.abandon()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batch is what is collected for one Send.
type batch struct {
	lines [][]byte
	bytes int
}

// write renders records and sends them, as many at a time as the sink wants.
func (l *Log) write() {
	defer close(l.done)
	limits := l.sink.Batch()
	var b batch
	for r := range l.queue {
		l.render(&b, r)
		if len(b.lines) > 0 {
			l.collect(&b, limits)
			l.send(&b)
		}
	}
}

// collect adds to a batch until it is full, its time is over, or no more records can come.
func (l *Log) collect(b *batch, limits Batch) {
	var over <-chan time.Time
	if limits.Wait > 0 {
		timer := time.NewTimer(limits.Wait)
		defer timer.Stop()
		over = timer.C
	}
	for len(b.lines) < limits.Lines && b.bytes < limits.Bytes {
		if over == nil {
			select {
			case r, ok := <-l.queue:
				if !ok {
					return
				}
				l.render(b, r)
			default:
				return
			}
			continue
		}
		select {
		case r, ok := <-l.queue:
			if !ok {
				return
			}
			l.render(b, r)
		case <-over:
			return
		}
	}
}

// render adds the line of a record. A record that cannot be rendered costs itself only.
func (l *Log) render(b *batch, r Record) {
	l.pending.Add(-r.Size())
	line, err := l.line(r)
	if err != nil {
		l.counts.drop(CauseEncode, 1)
		return
	}
	b.lines = append(b.lines, line)
	b.bytes += len(line)
}

func (l *Log) line(r Record) (line []byte, err error) {
	defer func() {
		if recover() != nil {
			line, err = nil, errors.New("the record cannot be rendered")
		}
	}()
	return json.Marshal(r.event(l.labels, l.mask))
}

// send delivers a batch and counts what became of it.
func (l *Log) send(b *batch) {
	total := len(b.lines)
	delivered, cause := l.sink.Send(l.ctx, b.lines)
	l.counts.written.Add(uint64(delivered))
	if delivered < total {
		l.counts.drop(cause, uint64(total-delivered))
	}
	clear(b.lines)
	b.lines, b.bytes = b.lines[:0], 0
}
