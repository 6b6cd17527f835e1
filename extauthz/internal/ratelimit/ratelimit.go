// Package ratelimit counts requests of verified callers against limits, in memory. It is pure and holds a bounded number of
// buckets: one that is not full stays until it is, so that nobody gets a new one by making many others, and callers for
// whom there is no room share one.
package ratelimit

import (
	"errors"
	"hash/maphash"
	"math"
	"math/bits"
	"time"
)

// Bounds of a Limit.
const (
	RateMin  = 0.01 // a second: one request in 100 s
	RateMax  = 1e6  // a second
	BurstMax = 1_000_000
	// WindowMax bounds burst / rate. A bucket is kept for that long after it was used last.
	WindowMax = time.Hour
)

// Limit is a rate, in requests a second, and how many may come at once. The zero value limits nothing.
type Limit struct {
	Rate  float64
	Burst int
}

// IsZero reports whether nothing is limited.
func (l Limit) IsZero() bool { return l == Limit{} }

// Validate reports what is wrong with a Limit that is not zero.
func (l Limit) Validate() error {
	switch {
	case !(l.Rate >= RateMin && l.Rate <= RateMax): // NaN is neither
		return errors.New("want a rate between 0.01 and 1000000 requests a second")
	case l.Burst < 1 || l.Burst > BurstMax:
		return errors.New("want a burst between 1 and 1000000 requests")
	case l.Window() > WindowMax:
		return errors.New("want at most 1h until the burst is there again (burst divided by rate)")
	}
	return nil
}

// Window is how long it takes until the whole burst is there again.
func (l Limit) Window() time.Duration {
	return time.Duration(math.Ceil(float64(l.Burst) / l.Rate * float64(time.Second)))
}

// interval is the time one request takes to be forgotten.
func (l Limit) interval() int64 { return int64(math.Round(float64(time.Second) / l.Rate)) }

// Limiter holds a bucket for each caller of one kind. It is safe for concurrent use; a request that finds its bucket takes
// a read lock of one shard and a compare-and-swap.
type Limiter struct {
	started time.Time
	seeds   [4]maphash.Seed
	shards  [shards]shard
}

// BucketsMax is how many callers of one kind have a bucket of their own.
const BucketsMax = 1 << 16

// New returns a Limiter; times given to it are counted from started.
func New(started time.Time) *Limiter {
	l := &Limiter{started: started}
	for i := range l.seeds {
		l.seeds[i] = maphash.MakeSeed()
	}
	return l
}

// Take counts one request of a caller, who has a name under an issuer. When it is beyond the limit it is not counted, and
// retry is how long it takes until the next one may come.
func (l *Limiter) Take(issuer, name string, limit Limit, now time.Time) (retry time.Duration, ok bool) {
	if limit.IsZero() {
		return 0, true
	}
	moment := int64(now.Sub(l.started))
	key := l.key(issuer, name)
	for {
		retry, result := l.shards[key[0]%shards].bucket(key, moment).take(limit, moment)
		if result != gone {
			return retry, result == taken
		}
	}
}

// key stands for a caller. The two names are hashed under seeds of their own, so no two pairs run together; the seeds are
// random, so nobody can compute two callers with one key.
func (l *Limiter) key(issuer, name string) key {
	return key{
		maphash.String(l.seeds[0], issuer) ^ bits.RotateLeft64(maphash.String(l.seeds[1], name), 1),
		maphash.String(l.seeds[2], issuer) ^ bits.RotateLeft64(maphash.String(l.seeds[3], name), 1),
	}
}

// Counts are how many buckets there are, and how many requests were counted in one that is shared.
func (l *Limiter) Counts() (buckets int, shared uint64) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.RLock()
		buckets += len(s.buckets)
		s.mu.RUnlock()
		shared += s.shared.Load()
	}
	return buckets, shared
}
