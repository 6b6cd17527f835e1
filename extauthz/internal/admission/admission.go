// Package admission keeps strangers from spending the processor on signature checks. A check costs more than everything
// else of a request together, and anybody can write a token that needs one.
//
// A source (an IPv4 address, or an IPv6 /64, which one host has whole) is free to have tokens checked until too many of
// them were bad. From then on it is a suspect: what it sends is checked by a part of the processors only, in turns with
// other suspects, and what does not fit its queue is not checked at all. Whoever sends good tokens never notices: a token
// that was verified is remembered and needs no check, and a source without a history of bad ones never waits.
//
// The package is pure, and what it holds has one size whatever happens.
package admission

import (
	"hash/maphash"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// BadMax is how many bad tokens a source may have had checked before it is a suspect.
	BadMax = 32
	// ForgiveEvery is how long it takes until one of them is forgotten. Each new token that is good makes up for one, too.
	ForgiveEvery = time.Second

	// sourcesMax bounds what is remembered: sources beyond share a history with others, picked by a secret hash. All of
	// them together, each in a bad mood, have 4,096 checks a second: a quarter of a processor.
	sourcesMax = 4096
)

// Gate is asked before each signature check. It is safe for concurrent use. A nil Gate admits everybody.
type Gate struct {
	seed    maphash.Seed
	started time.Time
	bad     [sourcesMax]atomic.Int64 // when all bad tokens of the source will be forgotten, in nanoseconds after started
	lane    lane

	free, suspect, refused atomic.Uint64
}

// New returns a Gate for a process with so many processors: suspects get half of them, and at least one. The moment is
// what those given to its methods are counted from.
func New(processors int, started time.Time) *Gate {
	return &Gate{seed: maphash.MakeSeed(), started: started, lane: lane{free: max(1, processors/2)}}
}

// Pass is the admission of one token or proof. Whoever got one must Leave.
type Pass struct {
	gate   *Gate
	source int
	now    int64
	slot   bool // in the lane of suspects
	paid   bool
}

// Enter asks for a source as Envoy names it (the address of the peer; any text is a source). It may wait for some
// milliseconds. Without ok nothing may be checked.
func (g *Gate) Enter(source string, now time.Time) (p Pass, ok bool) {
	if g == nil {
		return Pass{}, true
	}
	p = Pass{gate: g, source: g.find(source), now: int64(now.Sub(g.started))}
	if g.bad[p.source].Load()-p.now <= int64((BadMax-1)*ForgiveEvery) {
		g.free.Add(1)
		return p, true
	}
	waited, ok := g.lane.enter(p.source % queues)
	if !ok {
		g.refused.Add(1)
		return Pass{}, false
	}
	if waited {
		runtime.Gosched() // whoever is ready and needs no check goes first
	}
	g.suspect.Add(1)
	p.slot = true
	return p, true
}

// Checks says that a signature is about to be checked: without it, what was bad cost little and is not held against the
// source.
func (p *Pass) Checks() { p.paid = true }

// Leave ends it, and says whether the token or proof was good.
func (p *Pass) Leave(good bool) {
	if p.gate == nil {
		return
	}
	if p.slot {
		p.gate.lane.leave()
	}
	if p.paid {
		p.gate.judge(&p.gate.bad[p.source], p.now, good)
	}
}

func (g *Gate) judge(bad *atomic.Int64, now int64, good bool) {
	for {
		old := bad.Load()
		next := min(max(old, now)+int64(ForgiveEvery), now+int64(BadMax*ForgiveEvery))
		if good {
			if old <= now {
				return
			}
			next = old - int64(ForgiveEvery)
		}
		if bad.CompareAndSwap(old, next) {
			return
		}
	}
}

// find is where the history of a source is.
func (g *Gate) find(source string) int {
	if a, err := netip.ParseAddr(source); err == nil {
		a = a.Unmap().WithZone("")
		if a.Is6() {
			network := a.As16()
			return int(maphash.Bytes(g.seed, network[:8]) % sourcesMax)
		}
		address := a.As4()
		return int(maphash.Bytes(g.seed, address[:]) % sourcesMax)
	}
	return int(maphash.String(g.seed, source) % sourcesMax)
}

// Counts are how many were admitted without and with a history of bad tokens, and how many were not.
func (g *Gate) Counts() (free, suspect, refused uint64) {
	return g.free.Load(), g.suspect.Load(), g.refused.Load()
}
