package feed

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
)

// watched is a source whose every answer comes after a while, and which looks, right before it answers, whether what it fed is too old to be used. Whatever
// was too old for a moment is so then, since only an answer ends that.
type watched struct {
	*source
	takes    time.Duration
	failing  bool // every other read takes its whole time-out and fails
	until    func() time.Time
	stale    int
	shortest time.Duration // between the beginnings of two reads
	longest  time.Duration
}

func (w *watched) Get(ctx context.Context, url, etag string) (*fetch.Document, error) {
	doc, err := w.source.Get(ctx, url, etag)
	if n := len(w.reads); n > 1 {
		gap := w.reads[n-1].Sub(w.reads[n-2])
		if w.shortest == 0 || gap < w.shortest {
			w.shortest = gap
		}
		w.longest = max(w.longest, gap)
	}
	takes := w.takes
	if w.failing && w.count()%2 == 0 {
		takes, err = fetch.TimeoutDefault, errors.New("time-out")
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if until := w.until(); !until.IsZero() && time.Now().After(until) {
		w.stale++
	}
	return doc, err
}

// ways are those of an issuer that answers.
var ways = map[string]watched{
	"at once":            {},
	"slowly":             {takes: fetch.TimeoutDefault - time.Millisecond},
	"every other time":   {failing: true},
	"and slowly at that": {failing: true, takes: time.Second},
}

// TestKeysOfAnIssuerThatAnswersAreNeverStale: whatever it says of max-age, and whatever the operator says of maxStale.
func TestKeysOfAnIssuerThatAnswersAreNeverStale(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, maxAge := range []time.Duration{0, time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour, year} {
		fresh := keyFreshDefault
		if maxAge > 0 {
			fresh = min(max(maxAge, keyFreshMin), keyFreshMax)
		}
		for _, maxStale := range []time.Duration{KeyStaleMin, 2*time.Minute + 1, 10 * time.Minute, 20 * time.Minute, time.Hour, 2 * time.Hour, 24 * time.Hour} {
			for way, w := range ways {
				t.Run(fmt.Sprintf("max-age %s of %s, %s", maxAge, maxStale, way), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						b := newBundle(t)
						doc, _ := keySet(t, 1)
						b.source.set(doc, `"1"`)
						b.source.maxAge(maxAge)
						w.source, w.until = b.source, func() time.Time { return b.issuer().KeysUntil }
						run(t, NewKeyURL(b.Env, testIssuer, testURL, &w, b.disk, maxStale))
						wait(5*maxStale + time.Minute)
						if w.stale != 0 || b.issuer().Keys == nil {
							t.Errorf("too old at %d of %d reads", w.stale, b.source.count())
						}
						due := float64(min(fresh, maxStale/2))
						if longest := time.Duration(0.9 * due); !w.failing && w.longest > longest {
							t.Errorf("not read for %s, want at most %s", w.longest, longest)
						}
						if shortest := time.Duration(0.7 * due); !w.failing && w.shortest < shortest {
							t.Errorf("read again after %s, want at least %s", w.shortest, shortest)
						}
					})
				})
			}
		}
	}
}

// TestListOfAnIssuerThatAnswersIsNeverStale: with every interval and maxStale that may be configured.
func TestListOfAnIssuerThatAnswersIsNeverStale(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, time.Second, 10 * time.Second, time.Minute} {
		for _, maxStale := range []time.Duration{RevocationStaleMin(interval), 2 * RevocationStaleMin(interval), 15 * time.Minute} {
			for way, w := range ways {
				t.Run(fmt.Sprintf("every %s of %s, %s", interval, maxStale, way), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						b := newBundle(t)
						b.source.set(list(t, testIssuer, 1), `"1"`)
						w.source, w.until = b.source, func() time.Time { return b.issuer().RevocationsUntil }
						run(t, NewRevocationURL(b.Env, testIssuer, testURL, &w, b.disk, interval, maxStale))
						wait(5*maxStale + time.Minute)
						if w.stale != 0 || b.issuer().Revocations == nil {
							t.Errorf("too old at %d of %d reads", w.stale, b.source.count())
						}
					})
				})
			}
		}
	}
}

// TestListIsReadSoonAfterAnOutage: within the interval, or half a minute.
func TestListIsReadSoonAfterAnOutage(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			b.source.set(list(t, testIssuer, 1), `"1"`)
			run(t, NewRevocationURL(b.Env, testIssuer, testURL, b.source, b.disk, interval, listStale))
			b.source.fail(errors.New("connection refused"))
			wait(time.Hour)
			b.source.set(list(t, testIssuer, 2, "agt_1"), `"2"`)
			wait(min(max(interval, 30*time.Second), 5*interval))
			if !revoked(b, "agt_1") {
				t.Errorf("interval %s: not in force", interval)
			}
		})
	}
}
