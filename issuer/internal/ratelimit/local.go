package ratelimit

import (
	"sync"
	"time"
)

const (
	// bucketsMax bounds what one instance counts by itself, about 10 MB.
	bucketsMax = 1 << 16
	// sweepEvery is the least time between two searches for buckets that are full again.
	sweepEvery = 100 * time.Millisecond
)

// local counts in this process. A bucket that is not full stays until it is, so that nobody gets a new one by making many others; keys for whom there
// is no room share one.
type local struct {
	mu      sync.Mutex
	buckets map[string]time.Duration // when they are full again, after the start
	rest    time.Duration
	swept   time.Duration
}

func newLocal() *local { return &local{buckets: make(map[string]time.Duration)} }

// take counts at a moment after the start.
func (l *local) take(m mode, checks []Check, now time.Duration) []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts, next := make([]Count, len(checks)), make([]time.Duration, len(checks))
	within := true
	for i, c := range checks {
		next[i], counts[i] = c.Limit.take(l.full(c.Key, now), now)
		within = within && counts[i].Late == 0
	}
	for i, c := range checks {
		switch {
		case counts[i].Late > 0:
			l.set(c.Key, next[i]) // not taken, but no more than the window either
		case m == together && !within:
			counts[i].Used -= c.Limit.interval() // it was not taken
		default:
			l.set(c.Key, next[i])
		}
	}
	return counts
}

func (l *local) full(key string, now time.Duration) time.Duration {
	if full, known := l.buckets[key]; known {
		return full
	}
	if len(l.buckets) >= bucketsMax && !l.sweep(now) {
		return l.rest
	}
	return 0
}

func (l *local) set(key string, full time.Duration) {
	if _, known := l.buckets[key]; !known && len(l.buckets) >= bucketsMax {
		l.rest = max(l.rest, full)
		return
	}
	l.buckets[key] = full
}

// sweep makes room by taking out what is full again, and only that. It reports whether there is room.
func (l *local) sweep(now time.Duration) bool {
	if l.swept != 0 && now-l.swept < sweepEvery {
		return false
	}
	l.swept = now
	for key, full := range l.buckets {
		if full <= now {
			delete(l.buckets, key)
		}
	}
	return len(l.buckets) < bucketsMax
}
