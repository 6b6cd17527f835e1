// Package clientkeys fetches the key sets that clients publish at a URL, and remembers them. The URLs are strangers' (internal/fetch judges where they lead), and
// so is the text that makes us ask: an assertion nobody signed must not be able to make us fetch at its will.
package clientkeys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/jose"
)

// How long a key set is used.
const (
	freshDefault = 5 * time.Minute // without Cache-Control
	freshMin     = time.Minute     // whatever Cache-Control says
	freshMax     = time.Hour
	staleMax     = 24 * time.Hour   // since it was last fetched, when the server cannot be reached any more
	retryAfter   = 30 * time.Second // since the last attempt, for a key that is not in the set and after a failure
	setsMax      = 1024             // remembered; the one that was asked for longest ago makes room
)

// Getter is what fetches. *fetch.Client is one.
type Getter interface {
	Get(ctx context.Context, rawURL, etag string) (*fetch.Document, error)
}

// Source remembers key sets by URL. It is safe for concurrent use.
type Source struct {
	client Getter
	now    func() time.Time
	flying singleflight.Group

	mu   sync.Mutex
	sets map[string]*entry
}

// entry is changed only under Source.mu; set is never changed.
type entry struct {
	set       *jose.KeySet // nil: never fetched
	etag      string
	fetchedAt time.Time
	fresh     time.Duration
	triedAt   time.Time
	failure   error // of the last attempt
	askedAt   time.Time
}

// errForgotten is a set that had to make room while it was fetched.
var errForgotten = errors.New("key set of a client: too many others were asked for")

// New makes a source.
func New(client Getter, now func() time.Time) *Source {
	return &Source{client: client, now: now, sets: make(map[string]*entry)}
}

// Keys returns the key set at a URL, at most an hour old, or up to a day when its server cannot be reached. kid is the key that is looked for, "" for any: a set
// that does not have it is fetched again, but not more often than every 30 seconds, whoever asks.
func (s *Source) Keys(ctx context.Context, url, kid string) (*jose.KeySet, error) {
	e, due := s.look(url, kid)
	if !due {
		return answer(e, s.now())
	}
	done := s.flying.DoChan(url, func() (any, error) {
		s.load(context.WithoutCancel(ctx), url, e.triedAt) // all who ask at the same time wait for it; fetch has its own deadline
		return nil, nil
	})
	select {
	case <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := s.sets[url]; ok {
		e = *now
	}
	return answer(e, s.now())
}

// answer is what an entry is good for.
func answer(e entry, now time.Time) (*jose.KeySet, error) {
	switch {
	case e.set != nil && now.Sub(e.fetchedAt) <= staleMax:
		return e.set, nil
	case e.failure != nil:
		return nil, fmt.Errorf("key set of a client: %w", e.failure)
	}
	return nil, errForgotten
}

// look returns the entry as it is, and whether it is time to fetch.
func (s *Source) look(url, kid string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e, ok := s.sets[url]
	if !ok {
		s.makeRoom()
		e = &entry{}
		s.sets[url] = e
	}
	e.askedAt = now
	if !e.triedAt.IsZero() && now.Sub(e.triedAt) < retryAfter {
		return *e, false
	}
	_, has := e.set.Lookup(kid)
	return *e, e.set == nil || now.Sub(e.fetchedAt) >= e.fresh || kid != "" && !has
}

func (s *Source) makeRoom() {
	if len(s.sets) < setsMax {
		return
	}
	var oldest string
	for url, e := range s.sets {
		if oldest == "" || e.askedAt.Before(s.sets[oldest].askedAt) {
			oldest = url
		}
	}
	delete(s.sets, oldest)
}

// load fetches once, unless somebody did since the last attempt that its caller knows of. A failure leaves what was there. An empty set is believed: the client has
// taken its keys away.
func (s *Source) load(ctx context.Context, url string, last time.Time) {
	s.mu.Lock()
	e, ok := s.sets[url]
	if !ok || !e.triedAt.Equal(last) {
		s.mu.Unlock()
		return
	}
	etag := e.etag
	s.mu.Unlock()
	doc, err := s.client.Get(ctx, url, etag)
	var set *jose.KeySet
	if err == nil && !doc.NotModified {
		set, _, err = jose.ParseKeySet(doc.Body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok = s.sets[url]; !ok {
		return // it had to make room
	}
	now := s.now()
	e.triedAt, e.failure = now, err
	if err != nil {
		return
	}
	if set != nil {
		e.set, e.etag = set, doc.ETag
	}
	e.fetchedAt, e.fresh = now, freshness(doc.MaxAge)
}

func freshness(maxAge time.Duration) time.Duration {
	if maxAge == 0 {
		return freshDefault
	}
	return min(max(maxAge, freshMin), freshMax)
}
