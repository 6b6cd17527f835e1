package changecache

import (
	"sync/atomic"
	"testing"
	"time"
)

func newCache(max int) (c *Cache[string, int], valid *atomic.Bool, now *time.Time) {
	valid, now = &atomic.Bool{}, new(time.Time)
	*now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	valid.Store(true)
	return New[string, int](max, time.Minute, valid.Load, func() time.Time { return *now }), valid, now
}

func (c *Cache[K, V]) has(k K) bool { _, ok := c.Get(k); return ok }

func TestRemembersWhileNothingChanges(t *testing.T) {
	t.Parallel()
	c, valid, now := newCache(10)
	c.Put(c.Mark(), "a", 1)
	if v, ok := c.Get("a"); !ok || v != 1 || c.has("b") {
		t.Fatalf("%d, %v", v, ok)
	}
	valid.Store(false)
	if c.has("a") {
		t.Error("answers though nobody tells it of changes")
	}
	valid.Store(true)
	*now = now.Add(time.Minute)
	if c.has("a") {
		t.Error("answers after the end of its life")
	}
}

func TestForgets(t *testing.T) {
	t.Parallel()
	c, _, _ := newCache(10)
	for _, k := range []string{"a", "b", "c"} {
		c.Put(c.Mark(), k, 1)
	}
	c.Forget("a")
	if c.has("a") || !c.has("b") {
		t.Error("forgot another one")
	}
	c.Put(c.Mark(), "d", 2)
	c.ForgetValues(func(v int) bool { return v == 2 })
	if c.has("d") || !c.has("b") {
		t.Error("forgot what is about something else")
	}
	c.ForgetAll()
	if c.has("b") || c.has("c") {
		t.Error("did not forget all")
	}
}

// What was read before a change, and comes back after it was told of, is not remembered.
func TestDoesNotRememberWhatWasReadBeforeAChange(t *testing.T) {
	t.Parallel()
	c, _, _ := newCache(10)
	for name, change := range map[string]func(){"one": func() { c.Forget("a") }, "all": c.ForgetAll} {
		mark := c.Mark()
		change()
		c.Put(mark, "a", 1)
		if c.has("a") {
			t.Errorf("%s: an old value is remembered", name)
		}
	}
	c.Put(c.Mark(), "a", 2)
	if !c.has("a") {
		t.Error("nothing is remembered any more")
	}
}

func TestIsBounded(t *testing.T) {
	t.Parallel()
	c, _, _ := newCache(2)
	for _, k := range []string{"a", "b", "c", "c"} {
		c.Put(c.Mark(), k, 1)
	}
	if len(c.entries) != 2 || !c.has("c") {
		t.Errorf("%v", c.entries)
	}
}
