package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/trust"
)

const kindRevocations = "revocations"

// RevocationURL feeds one issuer's revocation list from its URL, polled at a fixed interval. A list whose sequence is lower than the one in
// force, or than the last one on disk, is refused: somebody is showing an old list.
//
// A list with kinds of revocation this version does not know is a newer issuer's. What is understood of it is in force at once, and it
// confirms nothing: what was in force is used until its time is over, as if the list had not been read.
type RevocationURL struct {
	env      *Env
	issuer   string
	url      string
	getter   Getter
	disk     *LastGood
	interval time.Duration
	maxStale time.Duration
	health   *health

	// Owned by the goroutine of Run (and by Load, before it).
	current  *record // the newest list accepted, also when it is too old to use
	index    *trust.Revocations
	told     *trust.Revocations // the index UseRevocations was told of
	until    time.Time          // published end of its use; zero before the first publication
	failures int
}

// NewRevocationURL makes the feed; the issuer must be in the store with HasRevocations. A list is used for at most maxStale after the
// last read that confirmed it.
func NewRevocationURL(env *Env, issuer, url string, getter Getter, disk *LastGood, interval, maxStale time.Duration) *RevocationURL {
	return &RevocationURL{
		env: env, issuer: issuer, url: url, getter: getter, disk: disk, interval: interval, maxStale: maxStale,
		health: newHealth(env, kindRevocations, issuer),
	}
}

// Name implements Feed.
func (f *RevocationURL) Name() string { return "revocation list of " + f.issuer }

// Load implements Feed: the last good list on disk. One that is too old is not used, but its sequence still counts.
func (f *RevocationURL) Load(ctx context.Context) error {
	r, err := f.disk.load(kindRevocations, f.issuer, f.url)
	if errors.Is(err, errNoRecord) {
		return nil
	}
	if err != nil {
		f.health.bad(ctx, resultFailed, err)
		return nil
	}
	index, err := f.parse(r.Body)
	if err != nil {
		f.health.bad(ctx, resultRefused, err)
		return nil
	}
	f.current, f.index = r, index
	confirmed := earlier(r.FetchedAt, f.env.Now())
	if until := confirmed.Add(f.maxStale); until.After(f.env.Now()) {
		f.health.lastSuccess = confirmed
		f.publish(until)
		f.health.log.InfoContext(ctx, "revocation list in force from disk", "sequence", index.Sequence(), "confirmed_at", confirmed.UTC().Format(time.RFC3339))
		return nil
	}
	f.health.log.WarnContext(ctx, "revocation list on disk is too old to use", "confirmed_at", confirmed.UTC().Format(time.RFC3339))
	return nil
}

// Run implements Feed.
func (f *RevocationURL) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(f.poll(ctx))
		}
	}
}

// RevocationStaleMin is the least maxStale of a list that is polled at an interval: one read may take all its time and fail, and so may all but the end of the next.
func RevocationStaleMin(interval time.Duration) time.Duration {
	return 2 * (interval + fetch.TimeoutDefault)
}

// poll reads once and returns when to read again. Failures slow the polling down only a little, to retryMax at most: how soon a revocation arrives
// after an outage matters more than a few requests.
func (f *RevocationURL) poll(ctx context.Context) time.Duration {
	etag := ""
	if f.current != nil {
		etag = f.current.ETag
	}
	doc, err := f.getter.Get(ctx, f.url, etag)
	if ctx.Err() != nil {
		return f.interval
	}
	result := resultFailed
	if err == nil {
		result, err = f.accept(ctx, doc)
	}
	if err != nil {
		f.health.bad(ctx, result, err)
	}
	if err == nil || result == resultPartial {
		f.failures = 0
		return f.interval
	}
	f.failures++
	const slowest = 5
	return max(f.interval, min(f.interval*time.Duration(min(f.failures, slowest)), retryMax))
}

// accept puts an answer in force, or says why not.
func (f *RevocationURL) accept(ctx context.Context, doc *fetch.Document) (string, error) {
	if doc.NotModified {
		return f.take(ctx, resultUnchanged, f.current.Body, doc.ETag, f.index)
	}
	index, err := f.parse(doc.Body)
	if err != nil {
		return resultRefused, err
	}
	if f.index != nil && index.Sequence() < f.index.Sequence() {
		return resultRefused, fmt.Errorf("sequence fell from %d to %d: an old list is served", f.index.Sequence(), index.Sequence())
	}
	if f.current != nil && slices.Equal(f.current.Body, doc.Body) {
		return f.take(ctx, resultUnchanged, doc.Body, doc.ETag, index)
	}
	return f.take(ctx, resultChanged, doc.Body, doc.ETag, index)
}

// take puts a list in force, wholly or as far as it is understood.
func (f *RevocationURL) take(ctx context.Context, result string, body []byte, etag string, index *trust.Revocations) (string, error) {
	if kinds := index.NotUnderstood(); len(kinds) > 0 {
		f.apply(ctx, body, etag, index)
		return resultPartial, fmt.Errorf("has revocations of kinds this version does not know (%s): upgrade extauthz", strings.Join(kinds, ", "))
	}
	f.health.good(ctx, result)
	if result == resultChanged {
		f.health.log.InfoContext(ctx, "revocation list in force", "sequence", index.Sequence())
	}
	f.confirm(ctx, body, etag, index)
	return result, nil
}

func (f *RevocationURL) parse(body []byte) (*trust.Revocations, error) {
	list, err := trust.ParseRevocationList(body)
	if err != nil {
		return nil, err
	}
	if list.Issuer != f.issuer {
		return nil, errors.New("the list is another issuer's")
	}
	return trust.Index(list), nil
}

// confirm publishes a list that changed, or whose life grew by a step worth an epoch, and keeps it on disk.
func (f *RevocationURL) confirm(ctx context.Context, body []byte, etag string, index *trust.Revocations) {
	now := f.env.Now()
	until := now.Add(f.maxStale)
	if f.current != nil && slices.Equal(f.current.Body, body) && until.Sub(f.until) < extendStep(f.maxStale) {
		f.current.ETag = etag
		return
	}
	f.index = index
	f.publish(until) // before the disk: a full disk must not delay a revocation
	f.keep(ctx, body, etag, now)
}

// apply publishes what is understood of a list, for as long as the one before was confirmed. Where none was, it confirms none: nothing is
// published, and the issuer's tokens cannot be decided on.
func (f *RevocationURL) apply(ctx context.Context, body []byte, etag string, index *trust.Revocations) {
	if f.current != nil && slices.Equal(f.current.Body, body) {
		f.current.ETag = etag
		return
	}
	f.index = index
	var confirmed time.Time
	if !f.until.IsZero() {
		f.publish(f.until)
		confirmed = f.until.Add(-f.maxStale)
	}
	f.keep(ctx, body, etag, confirmed)
}

// keep remembers a list, here and on disk, as confirmed at a time.
func (f *RevocationURL) keep(ctx context.Context, body []byte, etag string, confirmed time.Time) {
	f.current = &record{Kind: kindRevocations, Issuer: f.issuer, URL: f.url, ETag: etag, FetchedAt: confirmed, Body: body}
	if err := f.disk.save(f.current); err != nil {
		f.health.log.ErrorContext(ctx, "last good revocation list could not be kept on disk", "err", err)
	}
}

func (f *RevocationURL) publish(until time.Time) {
	f.until = until
	f.env.Store.Update(func(s *state.Snapshot) {
		next := *s.Issuers[f.issuer]
		next.Revocations, next.RevocationsUntil = f.index, until
		s.Issuers[f.issuer] = &next
	})
	if f.index != f.told && f.env.UseRevocations != nil {
		f.env.UseRevocations()
	}
	f.told = f.index
}
