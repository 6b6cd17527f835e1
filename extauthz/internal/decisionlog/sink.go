package decisionlog

import (
	"context"
	"io"
	"time"
)

// Sink takes lines. Only the log's own goroutine calls it, one call at a time.
type Sink interface {
	// Send delivers lines, each one JSON document without newline, and returns how many of them, counted from the first, were
	// delivered, and why the others were not. It returns soon after ctx ended.
	Send(ctx context.Context, lines [][]byte) (int, Cause)
	// Batch says how many lines the sink wants at once. It does not change.
	Batch() Batch
}

// Batch bounds what is given to one Send: it is complete when one of the three is reached.
type Batch struct {
	Lines int
	Bytes int
	Wait  time.Duration // since the first line; 0 waits for nothing and takes what is there
}

// writer writes to what somebody else opened.
type writer struct{ out io.Writer }

// ToWriter makes a sink of standard output, or of anything that takes one line with each Write.
func ToWriter(out io.Writer) Sink { return writer{out} }

// Batch implements Sink: one line in one call, so that lines of several processes on one pipe stay whole.
func (writer) Batch() Batch { return Batch{Lines: 1} }

// Send implements Sink.
func (w writer) Send(_ context.Context, lines [][]byte) (int, Cause) {
	for n, line := range lines {
		if _, err := w.out.Write(append(line, '\n')); err != nil {
			return n, CauseWrite
		}
	}
	return len(lines), ""
}
