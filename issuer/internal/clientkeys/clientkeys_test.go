package clientkeys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/clientkeys"
)

// server answers like the fetch client would.
type server struct {
	mu     sync.Mutex
	doc    []byte
	maxAge time.Duration
	err    error
	asked  atomic.Int64
	etags  []string
	gate   chan struct{} // nil: answers at once
}

func (s *server) Get(_ context.Context, _, etag string) (*fetch.Document, error) {
	s.asked.Add(1)
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.etags = append(s.etags, etag)
	if s.err != nil {
		return nil, s.err
	}
	tag := fmt.Sprint(len(s.doc), s.maxAge)
	if etag == tag {
		return &fetch.Document{NotModified: true, ETag: etag, MaxAge: s.maxAge}, nil
	}
	return &fetch.Document{Body: s.doc, ETag: tag, MaxAge: s.maxAge}, nil
}

func newSet(t *testing.T) (doc []byte, kid string) {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(`{"keys":[` + string(key.PublicJWK()) + `]}`), key.ID()
}

// clock is set by the test.
type clock struct{ seconds atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000+c.seconds.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }
func newSource(s *server) (*clientkeys.Source, *clock) {
	c := &clock{}
	return clientkeys.New(s, c.now), c
}

const url = "https://client.example/jwks.json"

func TestSetIsRememberedAsLongAsItIsFresh(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ maxAge, fresh time.Duration }{
		"nothing said": {0, 5 * time.Minute}, "a second": {time.Second, time.Minute}, "ten minutes": {10 * time.Minute, 10 * time.Minute}, "a year": {365 * 24 * time.Hour, time.Hour},
	} {
		s := &server{maxAge: tt.maxAge}
		doc, kid := newSet(t)
		s.doc = doc
		source, c := newSource(s)
		for _, step := range []struct {
			advance time.Duration
			asked   int64
		}{{0, 1}, {0, 1}, {tt.fresh - time.Second, 1}, {time.Second, 2}, {0, 2}} {
			c.advance(step.advance)
			set, err := source.Keys(t.Context(), url, kid)
			if err != nil || set.Len() != 1 || s.asked.Load() != step.asked {
				t.Errorf("%s: after %s: %v, asked %d times, want %d", name, step.advance, err, s.asked.Load(), step.asked)
			}
		}
		if len(s.etags) != 2 || s.etags[1] == "" {
			t.Errorf("%s: it was not asked with the ETag: %q", name, s.etags)
		}
	}
}

// A rotation is seen by the first assertion of the new key, and kids that nobody has do not make a storm.
func TestUnknownKeyAsksAgainNotTooOften(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.doc, _ = newSet(t)
	source, c := newSource(s)
	for range 100 {
		if _, err := source.Keys(t.Context(), url, "forged"); err != nil {
			t.Fatal(err)
		}
	}
	if s.asked.Load() != 1 {
		t.Errorf("asked %d times", s.asked.Load())
	}
	doc, next := newSet(t)
	s.doc = append(doc, ' ') // another ETag
	c.advance(30 * time.Second)
	set, err := source.Keys(t.Context(), url, next)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := set.Lookup(next); !ok || s.asked.Load() != 2 {
		t.Errorf("the new key is not seen, asked %d times", s.asked.Load())
	}
}

func TestLastGoodSetSurvivesItsServerForADay(t *testing.T) {
	t.Parallel()
	s := &server{}
	doc, kid := newSet(t)
	s.doc = doc
	source, c := newSource(s)
	if _, err := source.Keys(t.Context(), url, kid); err != nil {
		t.Fatal(err)
	}
	s.err = errors.New("connection refused")
	for _, bad := range []func(){func() {}, func() { s.err, s.doc = nil, []byte("<html>") }} {
		bad()
		c.advance(time.Hour)
		if set, err := source.Keys(t.Context(), url, kid); err != nil || set.Len() != 1 {
			t.Errorf("%v", err)
		}
	}
	c.advance(24 * time.Hour)
	if _, err := source.Keys(t.Context(), url, kid); err == nil {
		t.Error("a set of which nothing was heard for a day is still used")
	}
	if _, err := source.Keys(t.Context(), "https://other.example/", ""); err == nil {
		t.Error("what is no key set is one")
	}
}

func TestManyWaitForOneFetch(t *testing.T) {
	t.Parallel()
	s := &server{gate: make(chan struct{})}
	doc, kid := newSet(t)
	s.doc = doc
	source, _ := newSource(s)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if set, err := source.Keys(t.Context(), url, kid); err != nil || set.Len() != 1 {
				t.Error(err)
			}
		})
	}
	close(s.gate)
	group.Wait()
	if s.asked.Load() != 1 {
		t.Errorf("asked %d times", s.asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	blocked := &server{gate: make(chan struct{})}
	slow, _ := newSource(blocked)
	if _, err := slow.Keys(ctx, url, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that is gone waits: %v", err)
	}
	close(blocked.gate)
}

// However many URLs are registered, so many sets are kept and no more.
func TestSetsAreBounded(t *testing.T) {
	t.Parallel()
	s := &server{}
	doc, kid := newSet(t)
	s.doc = doc
	source, c := newSource(s)
	ask := func(n int) int64 {
		if _, err := source.Keys(t.Context(), fmt.Sprint("https://client.example/", n), kid); err != nil {
			t.Fatal(err)
		}
		return s.asked.Load()
	}
	ask(0)
	c.advance(time.Second) // the first is the one that was asked for longest ago
	for n := 1; n < 1024; n++ {
		ask(n)
	}
	if n := ask(0); n != 1024 {
		t.Errorf("asked %d times for 1,024 sets: one was forgotten too early", n)
	}
	c.advance(time.Second)
	if n := ask(1024) - ask(0); n != 0 {
		t.Error("the set that was asked for last was forgotten")
	}
	forgotten := int64(0)
	for n := 1; n < 1024; n++ {
		before := s.asked.Load()
		forgotten += ask(n) - before
	}
	if forgotten == 0 {
		t.Error("1,025 sets are kept")
	}
}
