package policy

import (
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// starvedMax is the most that an evaluation, the wait for its worker included, may take while the machine gives the process
	// no processor. It leaves 100 ms of Envoy's 250 for the rest, which is starved too.
	starvedMax = 150 * time.Millisecond

	// sampleMax is how old a reading of the clock may be to stand for the beginning of an evaluation. Reading it is a system
	// call; a policy with many evaluations does it two hundred times a second.
	sampleMax = 5 * time.Millisecond

	// waitMin is the shortest wait that is worth a timer.
	waitMin = time.Millisecond
)

// meter reads the processor time of the process, which is at least that of any evaluation in it: who finds that the process used
// less than an evaluation may has found that the evaluation did.
type meter struct {
	read func() time.Duration // of the process so far
	last atomic.Pointer[reading]
}

type reading struct {
	at   time.Time
	used time.Duration
}

func newMeter() *meter { return &meter{read: processTime} }

// before returns a reading that is not later than now: the last one, if it is new enough.
func (m *meter) before(now time.Time) time.Duration {
	if r := m.last.Load(); r != nil {
		if age := now.Sub(r.at); age >= 0 && age <= sampleMax {
			return r.used
		}
	}
	r := &reading{now, m.read()}
	m.last.Store(r)
	return r.used
}

// processTime is user and system time of all threads. What the hypervisor or other processes took is not in it.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("getrusage: " + err.Error()) // its arguments are right: it cannot
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// span is the time that something may take: limit of wall time or, while the process does not get the processor, until it got
// that much of it; and never beyond end.
type span struct {
	limit time.Duration
	end   time.Time
	used  time.Duration // processor time of the process at the beginning
}

// left is how much longer to wait when the limit of wall time is over; 0: not at all.
func (m *meter) left(s span) time.Duration {
	missing := s.limit - (m.read() - s.used)
	if missing <= 0 {
		return 0
	}
	return max(0, min(max(missing, waitMin), time.Until(s.end)))
}
