// Package ratelimit counts requests against limits: of clients, of sources, of organizations and of the whole instance, by the generic cell rate algorithm
// (GCRA). Counts are shared by all instances in Redis, one script and one round trip for all limits of a request. While Redis cannot be reached each instance counts
// for itself against half of every limit, because it does not know what the others let through.
//
// Gate is what the endpoints see: it bars sources before anything is computed for them, counts what was authenticated against the limits of its client and
// organization, and failed authentications against the source they come from, so that nobody locks a client out by guessing at its secret.
package ratelimit

import (
	"errors"
	"math"
	"time"
)

// Bounds of a Limit.
const (
	PerMinuteMax = 6_000_000
	BurstMax     = 1_000_000
	// WindowMax bounds how long it takes until the whole burst is there again.
	WindowMax = 24 * time.Hour
)

// Limit is a rate, in requests a minute, and how many may come at once.
type Limit struct {
	PerMinute int64
	Burst     int64
}

// IsZero reports whether nothing is limited.
func (l Limit) IsZero() bool { return l == Limit{} }

// Validate reports what is wrong with a limit.
func (l Limit) Validate() error {
	switch {
	case l.PerMinute < 1 || l.PerMinute > PerMinuteMax:
		return errors.New("want 1 to 6000000 requests a minute")
	case l.Burst < 1 || l.Burst > BurstMax:
		return errors.New("want a burst of 1 to 1000000 requests")
	case l.window() > WindowMax:
		return errors.New("want at most 24h until the burst is there again (burst divided by rate)")
	}
	return nil
}

// interval is how long one request takes to be forgotten.
func (l Limit) interval() time.Duration { return time.Minute / time.Duration(l.PerMinute) }

// window is how long a whole burst takes.
func (l Limit) window() time.Duration { return time.Duration(l.Burst) * l.interval() }

// half is what one instance allows while it does not know what the others do.
func (l Limit) half() Limit { return Limit{max(1, l.PerMinute/2), max(1, l.Burst/2)} }

// Check is one limit of one request.
type Check struct {
	Policy string // name of the limit, a plain word: what clients and metrics are told
	Key    string // who is counted
	Limit  Limit
}

// Count is what became of a Check.
type Count struct {
	Late time.Duration // 0: within the limit; else the time until it would be
	Used time.Duration // how much of the window is taken, this request included when it is within
}

// remaining is how many more requests are within the limit now.
func (c Count) remaining(l Limit) int64 {
	if c.Late > 0 {
		return 0
	}
	return max(0, int64((l.window()-c.Used)/l.interval()))
}

// mode says what is counted when one of several limits is met.
type mode string

const (
	// together counts a request against all of its limits, or against none when it is beyond one of them.
	together mode = "together"
	// apart counts it against each limit that it is within.
	apart mode = "apart"
)

// take is GCRA: full is when the bucket will be full again, the theoretical arrival time. It returns the new one.
func (l Limit) take(full, now time.Duration) (next time.Duration, c Count) {
	full = min(max(full, now), now+l.window()) // a limit that was lowered, or a clock that was set back, holds nobody up for longer than a window
	next = full + l.interval()
	if late := next - now - l.window(); late > 0 {
		return full, Count{Late: late, Used: full - now}
	}
	return next, Count{Used: next - now}
}

// seconds rounds up, so that whoever waits that long is let in.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }
