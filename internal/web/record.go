package web

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/problem"
)

// record is what is known of one request; it becomes one log line. It belongs to the request's goroutine.
type record struct {
	id     string
	source string
	route  string // pattern, never the path: paths hold ids and whatever a stranger typed
	status int
	bytes  int64
	err    error
	span   *obs.Span // nil when the request is not traced
}

type recordKey struct{}

func (c *Config) newRecord(r *http.Request) *record {
	return &record{id: rand.Text(), source: c.source(r), route: noRoute}
}

func recordFrom(ctx context.Context) *record {
	if rec, ok := ctx.Value(recordKey{}).(*record); ok {
		return rec
	}
	return &record{}
}

// RequestID is the id under which the request is logged and audited. We make it ourselves: one chosen by the client could be made to look like another's.
func RequestID(ctx context.Context) string { return recordFrom(ctx).id }

// Source is the address the request came from, without port.
func Source(ctx context.Context) string { return recordFrom(ctx).source }

// Note keeps err for the request's log line. It is for handlers that answer errors in a form of their own (OAuth).
func Note(ctx context.Context, err error) { recordFrom(ctx).err = err }

// Fail answers with the problem document of err and keeps err for the log line: errors are handled once, here.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	Note(r.Context(), err)
	problem.Write(w, RequestID(r.Context()), err)
}

// recorder notes status and length.
type recorder struct {
	http.ResponseWriter
	rec *record
}

func (w *recorder) WriteHeader(status int) {
	if w.rec.status == 0 || w.rec.status < 200 {
		w.rec.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.rec.status == 0 {
		w.rec.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.rec.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// unwrap is net/http's own writer.
func unwrap(w http.ResponseWriter) http.ResponseWriter {
	if rec, ok := w.(*recorder); ok {
		return rec.ResponseWriter
	}
	return w
}
