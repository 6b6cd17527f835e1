package decisionlog

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/fetch"
)

// service is a log service that behaves as it is told, one request after the other; then it behaves well.
type service struct {
	t        *testing.T
	behave   chan func(w http.ResponseWriter) // each request takes one
	seen     chan struct{}                    // gets one for each request, before it is answered
	mu       sync.Mutex
	got      map[string]int // decision ids that were acknowledged
	batches  int
	requests int
}

func startService(t *testing.T, behaviour ...func(http.ResponseWriter)) (*service, *HTTP) {
	t.Helper()
	s := &service{t: t, behave: make(chan func(http.ResponseWriter), len(behaviour)), seen: make(chan struct{}, 1000), got: map[string]int{}}
	for _, b := range behaviour {
		s.behave <- b
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := fetch.New(fetch.Config{ContentTypes: []string{"application/json"}, Timeout: 5 * time.Second, AllowPrivate: true, AllowPlaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	h := NewHTTP(client, server.URL+"/logs", "tok", 20*time.Millisecond, slog.New(slog.DiscardHandler))
	h.pauseMin = time.Millisecond
	return s, h
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.seen <- struct{}{}
	events, err := readBatch(r)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	s.requests++
	s.mu.Unlock()
	select {
	case b := <-s.behave:
		b(w)
		return
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	for _, e := range events {
		s.got[e.DecisionID]++
	}
}

func readBatch(r *http.Request) ([]event, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/logs" || r.Header.Get("Content-Encoding") != "gzip" ||
		r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer tok" {
		return nil, fmt.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	unpacked, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	var events []event
	return events, json.NewDecoder(unpacked).Decode(&events)
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// The service fails in every way, then recovers: every record arrives, once.
func TestHTTPRetries(t *testing.T) {
	t.Parallel()
	slow := func(w http.ResponseWriter) {
		<-time.After(50 * time.Millisecond)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	s, h := startService(t, status(500), hangUp, slow, status(429), status(408), hangUp)
	l := New(h, Config{SampleAllowed: 1})
	const total = 2500
	for n := range total {
		l.Add(Record{DecisionID: fmt.Sprint(n)})
	}
	closed(t, l)
	if d := cmp.Diff(Counts{Written: total, Dropped: map[Cause]uint64{}}, l.Counts()); d != "" {
		t.Error(d)
	}
	for n := range total {
		if s.got[fmt.Sprint(n)] != 1 {
			t.Fatalf("decision %d arrived %d times", n, s.got[fmt.Sprint(n)])
		}
	}
	if s.requests != s.batches+6 || s.batches < total/httpLinesMax || s.batches > total/25 { // a busy machine makes them smaller
		t.Errorf("%d requests, %d batches", s.requests, s.batches)
	}
}

// A batch the service refuses is not sent again, and costs itself only.
func TestHTTPRejectedBatch(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 401, 413, 302} {
		s, h := startService(t, status(code))
		l := New(h, Config{SampleAllowed: 1})
		for n := range httpLinesMax + 10 { // the first batch is full, or its time was over: the rest is another one
			l.Add(Record{DecisionID: fmt.Sprint(n)})
		}
		closed(t, l)
		c := l.Counts()
		if c.Dropped[CauseRejected] == 0 || c.Written == 0 || c.Written+c.Dropped[CauseRejected] != httpLinesMax+10 || len(s.got) != int(c.Written) {
			t.Errorf("%d: counted %+v, %d arrived", code, c, len(s.got))
		}
	}
}

// After ten attempts a batch is given up, and the next one is tried.
func TestHTTPGivesUp(t *testing.T) {
	t.Parallel()
	var failures []func(http.ResponseWriter)
	for range attemptsMax {
		failures = append(failures, status(500))
	}
	s, h := startService(t, failures...)
	l := New(h, Config{SampleAllowed: 1})
	l.Add(Record{DecisionID: "lost"})
	for range attemptsMax {
		<-s.seen
	}
	l.Add(Record{DecisionID: "kept"})
	closed(t, l)
	want := Counts{Written: 1, Dropped: map[Cause]uint64{CauseFailed: 1}}
	if d := cmp.Diff(want, l.Counts()); d != "" || s.got["kept"] != 1 {
		t.Errorf("%s %v", d, s.got)
	}
}

// A service that never answers fills the queue: the rest is dropped, Add does not wait, and every record is counted once.
func TestHTTPServiceHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s, h := startService(t, func(http.ResponseWriter) { <-release })
	l := New(h, Config{SampleAllowed: 1})
	const total = recordsMax + 3*httpLinesMax
	l.Add(Record{DecisionID: "0"})
	<-s.seen
	for n := 1; n < total; n++ {
		l.Add(Record{DecisionID: fmt.Sprint(n)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close = %v", err)
	}
	close(release)
	<-l.done
	c := l.Counts()
	sum := c.Written
	for _, n := range c.Dropped {
		sum += n
	}
	if sum != total || c.Dropped[CauseFull] != total-recordsMax-1 || c.Dropped[CauseShutdown] != recordsMax+1-c.Written {
		t.Errorf("counted %+v of %d", c, total)
	}
}

// Retry-After is honoured, within reason.
func TestHTTPRetryAfter(t *testing.T) {
	t.Parallel()
	var waits []time.Time
	s, h := startService(t, func(w http.ResponseWriter) {
		waits = append(waits, time.Now())
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}, func(w http.ResponseWriter) {
		waits = append(waits, time.Now())
		w.WriteHeader(http.StatusInternalServerError)
	})
	l := New(h, Config{SampleAllowed: 1})
	l.Add(Record{DecisionID: "d"})
	closed(t, l)
	if len(waits) != 2 || waits[1].Sub(waits[0]) < time.Second || s.got["d"] != 1 {
		t.Errorf("attempts at %v, got %v", waits, s.got)
	}
}

func BenchmarkAdd(b *testing.B) {
	for name, cfg := range map[string]Config{"all": {SampleAllowed: 1}, "sampled": {SampleAllowed: 0.01}} {
		b.Run(name, func(b *testing.B) {
			l := New(ToWriter(&discard{}), cfg)
			r := Record{DecisionID: "019abcde-0000-7000-8000-000000000000", Result: ResultAllowed, Request: request(b)}
			b.ReportAllocs()
			for b.Loop() {
				l.Add(r)
			}
			b.StopTimer()
			closed(b, l)
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
