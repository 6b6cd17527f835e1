package ratelimit

import (
	"sync"
	"time"
)

// notesMax bounds what is remembered of strangers, about 8 MB.
const notesMax = 1 << 16

// notes are names with a time until which something holds of them.
type notes struct {
	mu    sync.RWMutex
	until map[string]time.Time
}

func newNotes() *notes { return &notes{until: make(map[string]time.Time)} }

// left is how long it still holds; not positive when it does not.
func (n *notes) left(name string, now time.Time) time.Duration {
	n.mu.RLock()
	until, noted := n.until[name]
	n.mu.RUnlock()
	if !noted {
		return 0
	}
	return until.Sub(now)
}

// add never shortens. Without room, and with nothing to take out that is over, any note gives way: what it said is found out again when it matters.
func (n *notes) add(name string, until, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before, noted := n.until[name]
	if !noted && len(n.until) >= notesMax {
		n.makeRoom(now)
	}
	if until.After(before) {
		n.until[name] = until
	}
}

// makeRoom looks at a few, so that a flood of strangers does not make every note a search through all.
func (n *notes) makeRoom(now time.Time) {
	const looked = 64
	i, any := 0, ""
	for name, until := range n.until {
		if !until.After(now) {
			delete(n.until, name)
		} else {
			any = name
		}
		if i++; i == looked {
			break
		}
	}
	if len(n.until) >= notesMax {
		delete(n.until, any)
	}
}
