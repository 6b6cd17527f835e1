package obs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/internal/fetch"
)

// service is a collector whose answers a test chooses.
type service struct {
	mu     sync.Mutex
	posts  []time.Time
	spans  int
	answer func(ctx context.Context, post int) error
}

func (s *service) Post(ctx context.Context, _ string, _ http.Header, body []byte) error {
	s.mu.Lock()
	s.posts = append(s.posts, time.Now())
	n := len(s.posts)
	s.mu.Unlock()
	err := s.answer(ctx, n)
	if err == nil {
		var m tracev1.TracesData
		if err := proto.Unmarshal(body, &m); err != nil {
			return err
		}
		s.mu.Lock()
		s.spans += len(m.ResourceSpans[0].ScopeSpans[0].Spans)
		s.mu.Unlock()
	}
	return err
}

// queueTo starts a queue in a synctest bubble.
func queueTo(s *service, log *bytes.Buffer) *spanQueue {
	q := newSpanQueue(spanExport{
		client: s, url: "http://collector/v1/traces", log: slog.New(slog.NewTextHandler(log, nil)), wait: exportWait, pauseMin: exportPauseMin,
	}, "agentidp_tested")
	go q.run()
	return q
}

// one is what a request hands over; each needs spans of its own.
func one() []*tracev1.Span { return []*tracev1.Span{{Name: "stage"}, {Name: "whole"}} }

func (q *spanQueue) counts() (exported uint64, dropped map[string]uint64) {
	dropped = map[string]uint64{}
	for c := range dropCauses {
		if n := q.dropped[c].Load(); n > 0 {
			dropped[c.String()] = n
		}
	}
	return q.exported.Load(), dropped
}

func TestAFullQueueDropsAndNobodyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }} // never answers
		q := queueTo(s, &bytes.Buffer{})
		start := time.Now()
		for range batchSpansMax / 2 {
			q.add(one())
		}
		synctest.Wait() // the first batch is on its way
		for range tracedMax + 10 {
			q.add(one())
		}
		if time.Since(start) != 0 {
			t.Error("somebody waited")
		}
		if _, dropped := q.counts(); len(dropped) != 1 || dropped["full"] != 20 {
			t.Errorf("dropped %v, want 20 of a full queue", dropped)
		}
		q.close()
		if took := time.Since(start); took != flushMax {
			t.Errorf("the end took %v", took)
		}
		if _, dropped := q.counts(); dropped["shutdown"] != batchSpansMax+2*tracedMax {
			t.Errorf("dropped %v, want all of the others at the end", dropped)
		}
	})
}

func TestExportsAreRetried(t *testing.T) {
	t.Parallel()
	status := func(code int, after time.Duration) error { return &fetch.StatusError{Code: code, RetryAfter: after} }
	for name, c := range map[string]struct {
		answer  func(post int) error
		posts   int
		cause   string
		atLeast time.Duration
	}{
		"well":                 {func(int) error { return nil }, 1, "", 0},
		"unavailable, then ok": {func(n int) error { return map[bool]error{true: status(503, 0)}[n < 3] }, 3, "", 0},
		"asks to wait":         {func(n int) error { return map[bool]error{true: status(429, 4*time.Second)}[n < 2] }, 2, "", 4 * time.Second},
		"asks to wait long":    {func(n int) error { return map[bool]error{true: status(503, time.Hour)}[n < 2] }, 2, "", exportRetryAfterMax},
		"never reachable":      {func(int) error { return errors.New("connection refused") }, exportAttemptsMax, "failed", 0},
		"always overloaded":    {func(int) error { return status(504, 0) }, exportAttemptsMax, "failed", 0},
		"not authorized":       {func(int) error { return status(401, 0) }, 1, "rejected", 0},
		"its own bug":          {func(int) error { return status(500, 0) }, 1, "rejected", 0}, // not in the list of those to retry
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, log := &service{answer: func(_ context.Context, n int) error { return c.answer(n) }}, &bytes.Buffer{}
				q := queueTo(s, log)
				q.add(one())
				time.Sleep(time.Minute) // of the bubble
				synctest.Wait()
				exported, dropped := q.counts()
				if len(s.posts) != c.posts || dropped[c.cause] != map[bool]uint64{true: 2}[c.cause != ""] || exported != map[bool]uint64{true: 2}[c.cause == ""] {
					t.Errorf("%d posts, exported %d, dropped %v", len(s.posts), exported, dropped)
				}
				if took := s.posts[len(s.posts)-1].Sub(s.posts[0]); took < c.atLeast || took > c.atLeast+5*time.Second {
					t.Errorf("tried for %v, want %v or a little more", took, c.atLeast)
				}
				if failed := c.posts > 1 || c.cause != ""; strings.Count(log.String(), "level=WARN") != map[bool]int{true: 1}[failed] ||
					strings.Contains(log.String(), "well again") != (failed && c.cause == "") {
					t.Errorf("logged %s", log)
				}
				q.close()
			})
		})
	}
}

func TestBatchesAreFullOrOneSecondOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(context.Context, int) error { return nil }}
		q := queueTo(s, &bytes.Buffer{})
		start := time.Now()
		for range batchSpansMax/2 + 1 {
			q.add(one())
			synctest.Wait()
		}
		time.Sleep(2 * exportWait)
		synctest.Wait()
		if len(s.posts) != 2 || s.posts[0] != start || s.posts[1] != start.Add(exportWait) || s.spans != batchSpansMax+2 {
			t.Errorf("%d spans at %v, from %v on", s.spans, s.posts, start)
		}
		q.add(one())
		q.close() // without waiting for the batch to fill
		if time.Since(start) != 2*exportWait || s.spans != batchSpansMax+4 {
			t.Errorf("%d spans after %v", s.spans, time.Since(start))
		}
	})
}
