package admission

import "sync"

const (
	queues     = 64  // of suspects, by source: each has its turn
	queueMax   = 32  // waiting in one of them
	waitingMax = 256 // in all: at 70 microseconds a check, the last one waits for 18 ms at most
)

// lane lets a few suspects through at a time. Those that wait do so in queues which take turns, so that a source that
// sends a thousand times as much as another does not get a thousand times as much.
type lane struct {
	mu      sync.Mutex
	free    int // above 0 nobody waits
	waiting int
	last    int // the queue that had its turn
	queues  [queues][]chan struct{}
}

func (l *lane) enter(queue int) (waited, ok bool) {
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return false, true
	}
	if len(l.queues[queue]) == queueMax || l.waiting == waitingMax {
		l.mu.Unlock()
		return false, false
	}
	turn := make(chan struct{})
	l.queues[queue] = append(l.queues[queue], turn)
	l.waiting++
	l.mu.Unlock()
	<-turn
	return true, true
}

// leave hands the place on.
func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		l.free++
		return
	}
	for {
		l.last = (l.last + 1) % queues
		if q := l.queues[l.last]; len(q) > 0 {
			close(q[0])
			copy(q, q[1:]) // in place: a queue that is never empty would otherwise grow for ever
			q[len(q)-1] = nil
			l.queues[l.last] = q[:len(q)-1]
			l.waiting--
			return
		}
	}
}
