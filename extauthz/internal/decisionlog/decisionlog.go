// Package decisionlog writes what was decided, one JSON line each, in the shape of OPA's decision logs (EventV1), so that
// whatever reads those reads these. Writing happens behind the request: a request hands over a record and goes on. The
// buffer is bounded; what does not fit is dropped and counted, never waited for. Credentials are masked before anything is
// encoded.
package decisionlog

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"
)

// Limits of what waits to be written.
const (
	recordsMax = 4096     // records
	bytesMax   = 16 << 20 // bytes of headers and bodies they hold on to
)

// Log takes records and writes them in the background. It is safe for concurrent use.
type Log struct {
	out     io.Writer
	labels  map[string]string
	queue   chan Record
	pending atomic.Int64 // bytes held by queued records
	dropped atomic.Uint64
	failed  atomic.Uint64

	closing sync.RWMutex // held for reading while a record is handed over
	closed  bool
	done    chan struct{}
}

// New starts a log that writes to out. labels name the process in every line.
func New(out io.Writer, labels map[string]string) *Log {
	l := &Log{out: out, labels: labels, queue: make(chan Record, recordsMax), done: make(chan struct{})}
	go l.write()
	return l
}

// Add hands a record over. It never blocks; a record that does not fit, or comes after Close, is dropped and counted.
// What the record points to must not change any more.
func (l *Log) Add(r Record) {
	size := r.bytes()
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed || l.pending.Add(size) > bytesMax {
		if !l.closed {
			l.pending.Add(-size)
		}
		l.dropped.Add(1)
		return
	}
	select {
	case l.queue <- r:
	default:
		l.pending.Add(-size)
		l.dropped.Add(1)
	}
}

// Dropped counts records that did not fit.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Failed counts records the writer did not take.
func (l *Log) Failed() uint64 { return l.failed.Load() }

// Close writes what is queued and returns when it is written or ctx ends. It does not close the writer.
func (l *Log) Close(ctx context.Context) error {
	l.closing.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.closing.Unlock()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) write() {
	defer close(l.done)
	for r := range l.queue {
		l.pending.Add(-r.bytes())
		if !l.writeOne(r) {
			l.failed.Add(1)
		}
	}
}

// writeOne writes one line in one call, so that lines of several processes on one pipe stay whole.
func (l *Log) writeOne(r Record) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // a record that cannot be rendered costs itself only
		}
	}()
	line, err := json.Marshal(r.event(l.labels))
	if err != nil {
		return false
	}
	_, err = l.out.Write(append(line, '\n'))
	return err == nil
}
