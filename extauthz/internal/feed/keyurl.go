package feed

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
)

const (
	// keyFreshDefault is how long keys count as fresh when the issuer does not say; its answer is clamped to min and max. The
	// maximum bounds how long a key withdrawn in an emergency lives on.
	keyFreshDefault = 5 * time.Minute
	keyFreshMin     = 30 * time.Second
	keyFreshMax     = time.Hour

	// KeyStaleMin is the least maxStale of keys: they are read again before half of it is over, and not more often than keyFreshMin allows.
	KeyStaleMin = 2 * keyFreshMin

	// keyHintFloor is the least time between a read and one that tokens ask for: strangers can make such tokens.
	keyHintFloor = 30 * time.Second
	// keyEmptyWait is how long an empty set must last before it replaces a good one.
	keyEmptyWait = 30 * time.Second

	retryFirst = time.Second
	retryMax   = 30 * time.Second
)

// KeyURL feeds one issuer's keys from its JWKS URL: refreshed before they are stale, kept while the URL fails until maxStale.
//
// The issuer says how soon it wants them read again (max-age), the operator how long they may be used unconfirmed (maxStale). They are read again at
// 70 to 90 % of max-age or of half of maxStale, whichever is less: keys of an issuer that answers are never stale, whatever it says, and more than half of
// maxStale is left for a read that is slow and for those after one that failed.
type KeyURL struct {
	env      *Env
	issuer   string
	url      string
	getter   Getter
	disk     *LastGood
	maxStale time.Duration
	health   *health
	hints    chan struct{}

	// Owned by the goroutine of Run (and by Load, before it).
	current   *record // what is in force; nil before the first good read
	until     time.Time
	keys      *jose.KeySet
	fresh     time.Duration // what the issuer said last, clamped
	emptyFrom time.Time     // first of the reads in a row that found no key
	failures  int           // in a row
}

// NewKeyURL makes the feed; the issuer must be in the store. Keys are used for at most maxStale after the last read that confirmed them.
func NewKeyURL(env *Env, issuer, url string, getter Getter, disk *LastGood, maxStale time.Duration) *KeyURL {
	return &KeyURL{
		env: env, issuer: issuer, url: url, getter: getter, disk: disk, maxStale: maxStale,
		health: newHealth(env, kindKeys, issuer), hints: make(chan struct{}, 1), fresh: keyFreshDefault,
	}
}

const kindKeys = "keys"

// Name implements Feed.
func (f *KeyURL) Name() string { return "keys of " + f.issuer }

// ReadEarly says that a token could be verified, perhaps, if the keys were read now. It never blocks and never fetches by itself.
func (f *KeyURL) ReadEarly() {
	select {
	case f.hints <- struct{}{}:
	default: // one is pending already
	}
}

// Load implements Feed: the last good keys on disk, unless they are too old.
func (f *KeyURL) Load(ctx context.Context) error {
	r, err := f.disk.load(kindKeys, f.issuer, f.url)
	if errors.Is(err, errNoRecord) {
		return nil
	}
	if err != nil {
		f.health.bad(ctx, resultFailed, err)
		return nil
	}
	keys, err := parseKeys(ctx, f.env.Store, f.health, r.Body)
	if err != nil {
		f.health.bad(ctx, resultRefused, err)
		return nil
	}
	// A time in the future is a clock that was set back; it must not buy the keys more time than a read now would.
	confirmed := earlier(r.FetchedAt, f.env.Now())
	if until := confirmed.Add(f.maxStale); until.After(f.env.Now()) {
		f.current, f.keys, f.until = r, keys, until
		f.health.lastSuccess = confirmed
		publishKeys(f.env.Store, f.issuer, keys, until)
		f.health.log.InfoContext(ctx, "keys in force from disk", "keys", keys.Len(), "confirmed_at", confirmed.UTC().Format(time.RFC3339))
		return nil
	}
	f.health.log.WarnContext(ctx, "keys on disk are too old to use", "confirmed_at", confirmed.UTC().Format(time.RFC3339))
	return nil
}

// Run implements Feed.
func (f *KeyURL) Run(ctx context.Context) error {
	timer := time.NewTimer(0) // what is on disk is never taken for fresh
	defer timer.Stop()
	var last, next time.Time // of reads
	hints := f.hints         // nil while a read is due as early as a hint could make it: then hints wake nobody, however many come
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hints:
			hints = nil
			if soonest := last.Add(keyHintFloor); !last.IsZero() && soonest.Before(next) {
				next = soonest
				timer.Reset(max(0, next.Sub(f.env.Now())))
			}
		case <-timer.C:
			last = f.env.Now()
			next = last.Add(f.refresh(ctx))
			timer.Reset(next.Sub(f.env.Now()))
			hints = f.hints
		}
	}
}

// refresh reads once and returns when to read again.
func (f *KeyURL) refresh(ctx context.Context) time.Duration {
	etag := ""
	if f.current != nil {
		etag = f.current.ETag
	}
	doc, err := f.getter.Get(ctx, f.url, etag)
	if ctx.Err() != nil {
		return keyFreshDefault // the end, not a failure
	}
	if err != nil {
		f.failures++
		f.health.bad(ctx, resultFailed, err)
		return retryDelay(f.failures)
	}
	f.failures = 0
	f.fresh = keyFreshDefault
	if doc.MaxAge > 0 {
		f.fresh = min(max(doc.MaxAge, keyFreshMin), keyFreshMax)
	}
	if doc.NotModified {
		f.emptyFrom = time.Time{}
		f.confirm(ctx, f.current.Body, doc.ETag, f.keys)
		return f.again()
	}
	keys, err := parseKeys(ctx, f.env.Store, f.health, doc.Body)
	switch {
	case errors.Is(err, errNoKeys) && !f.emptyForLong():
		f.health.bad(ctx, resultRefused, err)
		return keyEmptyWait
	case errors.Is(err, errNoKeys): // the issuer means it: from here on nobody gets in with its tokens
		keys, _, _ = jose.ParseKeySet(doc.Body)
		f.health.log.ErrorContext(ctx, "the issuer withdrew all its keys, its tokens are refused from now on")
	case err != nil:
		f.failures++
		f.health.bad(ctx, resultRefused, err)
		return retryDelay(f.failures)
	}
	if keys.Len() > 0 {
		f.emptyFrom = time.Time{}
	}
	f.confirm(ctx, doc.Body, doc.ETag, keys)
	return f.again()
}

// again is when to read keys that were just confirmed.
func (f *KeyURL) again() time.Duration { return ahead(min(f.fresh, f.maxStale/2)) }

// emptyForLong counts reads without a usable key: only a set that stayed empty replaces a good one. Without a good one there is
// nothing to replace, and the feed keeps waiting for keys.
func (f *KeyURL) emptyForLong() bool {
	now := f.env.Now()
	if f.emptyFrom.IsZero() {
		f.emptyFrom = now
	}
	return f.current != nil && now.Sub(f.emptyFrom) >= keyEmptyWait
}

// confirm puts a good answer in force: on disk when anything changed worth keeping, in the snapshot when requests would notice.
func (f *KeyURL) confirm(ctx context.Context, body []byte, etag string, keys *jose.KeySet) {
	now := f.env.Now()
	changed := f.current == nil || !slices.Equal(f.current.Body, body)
	until := now.Add(f.maxStale)
	result := resultUnchanged
	if changed {
		result = resultChanged
	}
	f.health.good(ctx, result)
	if !changed && until.Sub(f.until) < extendStep(f.maxStale) {
		f.current.ETag = etag
		return
	}
	f.current = &record{Kind: kindKeys, Issuer: f.issuer, URL: f.url, ETag: etag, FetchedAt: now, Body: body}
	f.keys, f.until = keys, until
	publishKeys(f.env.Store, f.issuer, keys, until)
	if err := f.disk.save(f.current); err != nil {
		f.health.log.ErrorContext(ctx, "last good keys could not be kept on disk", "err", err)
	}
	if changed {
		f.health.log.InfoContext(ctx, "keys in force", "keys", keys.Len())
	}
}

// extendStep is how much longer a document must have become usable before that is published and written down: every publication
// starts a new epoch, which caches notice, so an unchanged document extends its life in steps of a tenth.
func extendStep(maxStale time.Duration) time.Duration { return maxStale / 10 }

// ahead is when to refresh something that stays fresh for d: before the end, and not at the same moment as every other sidecar.
func ahead(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.7 + 0.2*rand.Float64()))
}

// retryDelay doubles from retryFirst to retryMax, with a fifth of jitter.
func retryDelay(failures int) time.Duration {
	d := retryMax
	if failures < 6 {
		d = min(retryFirst<<(failures-1), retryMax)
	}
	return time.Duration(float64(d) * (0.8 + 0.2*rand.Float64()))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
