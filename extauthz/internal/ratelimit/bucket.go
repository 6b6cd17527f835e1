package ratelimit

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards     = 64
	bucketsMax = BucketsMax / shards // of a shard; one takes about 60 bytes, all of them 4 MB
	// sweepEvery is the least time between two searches of a shard without room for buckets that are full again.
	sweepEvery = 100 * time.Millisecond
)

type key [2]uint64

// bucket is the time, in nanoseconds after the Limiter's start, when it will be full again (GCRA: the theoretical arrival
// time). One that is full holds nothing, and can be forgotten.
type bucket struct{ full atomic.Int64 }

// forgotten is what a bucket holds that is in no shard any more: what is counted there would count for nothing.
const forgotten = math.MinInt64

func (b *bucket) take(limit Limit, now int64) (retry time.Duration, result outcome) {
	interval := limit.interval()
	room := int64(limit.Burst) * interval
	for {
		old := b.full.Load()
		if old == forgotten {
			return 0, gone
		}
		next := max(old, now) + interval // the clock is monotonic: it is never set back
		if late := next - now - room; late > 0 {
			return time.Duration(late), beyond
		}
		if b.full.CompareAndSwap(old, next) {
			return 0, taken
		}
	}
}

// outcome is what became of a request.
type outcome int

const (
	taken outcome = iota
	beyond
	gone
)

// shard holds some of the buckets.
type shard struct {
	mu      sync.RWMutex
	buckets map[key]*bucket
	swept   int64
	rest    bucket        // of all for whom there is no room
	shared  atomic.Uint64 // requests counted there
}

func (s *shard) bucket(k key, now int64) *bucket {
	s.mu.RLock()
	b := s.buckets[k]
	s.mu.RUnlock()
	if b != nil {
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[k]; b != nil {
		return b
	}
	if len(s.buckets) >= bucketsMax && !s.sweep(now) {
		s.shared.Add(1)
		return &s.rest
	}
	if s.buckets == nil {
		s.buckets = make(map[key]*bucket)
	}
	b = &bucket{}
	s.buckets[k] = b
	return b
}

// sweep makes room by taking out what is full, and only that. It reports whether there is room.
func (s *shard) sweep(now int64) bool {
	if now-s.swept < int64(sweepEvery) && now >= s.swept {
		return false
	}
	s.swept = now
	for k, b := range s.buckets {
		if full := b.full.Load(); full <= now && b.full.CompareAndSwap(full, forgotten) {
			delete(s.buckets, k)
		}
	}
	return len(s.buckets) < bucketsMax
}
