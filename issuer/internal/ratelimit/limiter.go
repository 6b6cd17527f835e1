package ratelimit

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// How long Redis is left alone after it failed: doubled with each failure, and spread so that instances do not come back together.
const (
	aloneMin = 500 * time.Millisecond
	aloneMax = 8 * time.Second
)

// Limiter counts requests. It is safe for concurrent use.
type Limiter struct {
	shared *shared // nil: there is one instance, which counts for itself against whole limits
	local  *local
	log    *slog.Logger
	now    func() time.Time
	start  time.Time

	// While Redis fails, until is when it is asked again, by one request at a time; the others are counted here.
	until    atomic.Int64 // nanoseconds after start; 0 while it answers
	asking   atomic.Bool
	failures atomic.Int64 // one after the other
	fallback atomic.Uint64
}

// NewLimiter counts in the Redis at url, or in this process alone when there is none. It does not connect yet, and never fails for a Redis that is not there.
func NewLimiter(url string, log *slog.Logger, now func() time.Time) (*Limiter, error) {
	l := &Limiter{local: newLocal(), log: log, now: now, start: now()}
	if url == "" {
		return l, nil
	}
	var err error
	l.shared, err = openShared(url)
	return l, err
}

// Close gives back the connections.
func (l *Limiter) Close() error {
	if l.shared == nil {
		return nil
	}
	return l.shared.close()
}

// take counts one request. It always has an answer, and waits for Redis for a bounded time.
func (l *Limiter) take(ctx context.Context, m mode, checks ...Check) []Count {
	if l.shared == nil {
		return l.local.take(m, checks, l.now().Sub(l.start))
	}
	if l.mayAsk() {
		counts, err := l.ask(ctx, m, checks)
		if err == nil {
			return counts
		}
	}
	l.fallback.Add(1)
	half := make([]Check, len(checks))
	for i, c := range checks {
		half[i] = Check{c.Policy, c.Key, c.Limit.half()}
	}
	return l.local.take(m, half, l.now().Sub(l.start))
}

// mayAsk is true for every request while Redis answers, and for one at a time, now and then, while it does not.
func (l *Limiter) mayAsk() bool {
	until := l.until.Load()
	return until == 0 || int64(l.now().Sub(l.start)) >= until && l.asking.CompareAndSwap(false, true)
}

// ask does not belong to the request: a client that goes away says nothing about Redis.
func (l *Limiter) ask(ctx context.Context, m mode, checks []Check) ([]Count, error) {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), redisTimeout)
	defer cancel()
	counts, err := l.shared.take(asking, m, checks)
	if err != nil {
		l.failed(ctx, err)
	} else if l.until.Load() != 0 {
		l.recovered(ctx)
	}
	return counts, err
}

// failed counts once for all requests that were under way together.
func (l *Limiter) failed(ctx context.Context, err error) {
	alone := min(aloneMin<<min(l.failures.Load(), 10), aloneMax)
	alone = alone/2 + rand.N(alone/2+1)
	until := l.until.Load()
	now := int64(l.now().Sub(l.start))
	if until > now || !l.until.CompareAndSwap(until, max(1, now+int64(alone))) {
		l.asking.Store(false)
		return
	}
	if l.failures.Add(1) == 1 {
		l.log.WarnContext(ctx, "limits are counted by this instance alone, at half: Redis does not answer", slog.Any("err", err))
	}
	l.asking.Store(false)
}

func (l *Limiter) recovered(ctx context.Context) {
	if l.until.Swap(0) != 0 {
		l.log.InfoContext(ctx, "limits are counted in Redis again")
	}
	l.failures.Store(0)
	l.asking.Store(false)
}

// alone reports whether limits are counted here though they should be shared.
func (l *Limiter) alone() bool { return l.until.Load() != 0 }
