// Package changecache remembers what was read from the database for as long as nothing says that it has changed. A store that hears of changes keeps a Cache in
// good standing (valid) and tells it what to forget; without standing a Cache answers nothing, so that not hearing of changes is never the same as there being none.
//
// It saves look-ups; it never decides. What must be true at the moment of a decision is checked by the transaction that makes it.
package changecache

import (
	"maps"
	"sync"
	"time"
)

// Cache maps keys to what was read about them. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	entriesMax int
	life       time.Duration
	valid      func() bool
	now        func() time.Time

	mu      sync.RWMutex
	entries map[K]entry[V]
	forgot  uint64 // how often something was forgotten
}

type entry[V any] struct {
	value V
	until time.Time
}

// New returns a Cache of at most entriesMax values, each for at most life, that answers while valid does.
func New[K comparable, V any](entriesMax int, life time.Duration, valid func() bool, now func() time.Time) *Cache[K, V] {
	return &Cache[K, V]{entriesMax: entriesMax, life: life, valid: valid, now: now, entries: make(map[K]entry[V])}
}

// Get is what is remembered of a key.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.RLock()
	e, ok := c.entries[key]
	c.mu.RUnlock()
	if !ok || !c.valid() || !c.now().Before(e.until) {
		return value, false
	}
	return e.value, true
}

// Mark is a moment before something is read.
type Mark uint64

// Mark is taken before the database is asked, and given to Put with the answer.
func (c *Cache[K, V]) Mark() Mark {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Mark(c.forgot)
}

// Put remembers what was read since the mark, unless something was forgotten in between: it may have been read before the change that was told of.
func (c *Cache[K, V]) Put(since Mark, key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if uint64(since) != c.forgot {
		return
	}
	if _, known := c.entries[key]; !known && len(c.entries) >= c.entriesMax {
		for other := range c.entries { // any: it is read again when it is asked for
			delete(c.entries, other)
			break
		}
	}
	c.entries[key] = entry[V]{value, c.now().Add(c.life)}
}

// Forget is called after a key has changed.
func (c *Cache[K, V]) Forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot++
	delete(c.entries, key)
}

// ForgetValues is called after something has changed that values of several keys are about.
func (c *Cache[K, V]) ForgetValues(about func(V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot++
	maps.DeleteFunc(c.entries, func(_ K, e entry[V]) bool { return about(e.value) })
}

// ForgetAll is called when it is not known what has changed.
func (c *Cache[K, V]) ForgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot++
	clear(c.entries)
}
