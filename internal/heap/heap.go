// Package heap sets how much a process may allocate between two runs of the garbage collector.
//
// Go's collector lets the heap double. A sidecar whose live heap is a few megabytes then collects a hundred times a second under load, and each run costs
// what running costs, however little there is to mark. With a fixed room to allocate in, the number of runs follows from what requests allocate and from
// nothing else, and memory stays predictable: the live heap and the room.
//
// Both settings of the runtime belong to the process, so only a main function may use this package.
package heap

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

const (
	percentDefault = 100     // GOGC that nobody set
	percentMin     = 50      // with a large live heap, half of it is room: marking it for less would cost more than it saves
	percentChange  = 10      // percent of the setting: a smaller change is not worth stopping the world for
	liveMin        = 4 << 20 // a smaller heap has as much room as one of this size (runtime: "GOGC ... minimum total heap size")
)

// The three parts of what the collector calls the live heap: GOGC is a percentage of their sum.
var liveParts = []string{"/gc/heap/live:bytes", "/gc/scan/globals:bytes", "/gc/scan/stack:bytes"}

// Pacer keeps the room. Stop it to leave the collector as it was found.
type Pacer struct {
	room     int64
	found    int // GOGC before
	percent  atomic.Int64
	finished atomic.Bool
}

// Pace lets the process allocate about room bytes between two collections, more when the live heap is more than twice that. GOMEMLIMIT comes first: near
// the limit the collector runs as often as it must. Where GOGC is set to anything but
// its default the operator has decided, and Pace does nothing.
func Pace(room int64) *Pacer {
	p := &Pacer{room: room}
	p.found = debug.SetGCPercent(int(percentFor(room, 0))) // until the first collection says what is live
	if p.found != percentDefault {
		debug.SetGCPercent(p.found)
		p.finished.Store(true)
		return p
	}
	p.percent.Store(percentFor(room, 0))
	p.adjust()
	p.afterNextCollection()
	return p
}

// Stop ends the pacing.
func (p *Pacer) Stop() {
	if !p.finished.Swap(true) {
		debug.SetGCPercent(p.found)
	}
}

// Percent is GOGC as it is set now; 0 when the pacer does nothing.
func (p *Pacer) Percent() int {
	if p.finished.Load() {
		return 0
	}
	return int(p.percent.Load())
}

// afterNextCollection waits for a collection by leaving something to collect.
func (p *Pacer) afterNextCollection() {
	sentinel := new([16]byte) // not a tiny object: those are freed together with their neighbours
	runtime.AddCleanup(sentinel, func(p *Pacer) {
		if p.finished.Load() {
			return
		}
		p.adjust()
		p.afterNextCollection()
	}, p)
}

func (p *Pacer) adjust() {
	samples := make([]metrics.Sample, len(liveParts))
	for i, name := range liveParts {
		samples[i].Name = name
	}
	metrics.Read(samples)
	var live int64
	for _, s := range samples {
		live += int64(s.Value.Uint64())
	}
	was, is := p.percent.Load(), percentFor(p.room, live)
	if abs(is-was)*100 >= was*percentChange {
		p.percent.Store(is)
		debug.SetGCPercent(int(is))
	}
}

// percentFor is the GOGC that gives room beside a live heap.
func percentFor(room, live int64) int64 {
	return max(room*100/max(live, liveMin), percentMin)
}

func abs(n int64) int64 { return max(n, -n) }
