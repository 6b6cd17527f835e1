package keys

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
)

// The parts of the overlap that nobody configures.
const (
	// ReloadMax is how old the knowledge may be that a process signs or publishes with. It looks each second; when it could not look for this long it signs
	// nothing, and lets nobody cache what it publishes.
	ReloadMax = 30 * time.Second
	// Skew is how far the clocks of issuers and verifiers may be apart.
	Skew = time.Minute
	// SignedLifetimeMax is how long anything that is signed with these keys may live. Sidecars refuse longer tokens unless told otherwise.
	SignedLifetimeMax = time.Hour
)

// Bounds and default of the period.
const (
	PeriodDefault = 30 * 24 * time.Hour
	PeriodMax     = 366 * 24 * time.Hour
)

// Schedule says when a key goes on in its life.
type Schedule struct {
	Period time.Duration // how long a key signs
	MaxAge time.Duration // how long verifiers may use a key set without asking
}

// Lead is how long a key is published before it signs. A cache that lacks it was filled at most ReloadMax after it was stored (by a process that had not heard) and
// is used for MaxAge; the clocks of who stored it and who activates it may differ by Skew.
func (s Schedule) Lead() time.Duration { return ReloadMax + s.MaxAge + Skew }

// Tail is how long a key is published after it stopped signing. A process that has not heard signs with it for ReloadMax; that token lives for SignedLifetimeMax
// by a clock that may be behind by Skew; a key set fetched then is used for MaxAge, which also covers that the clocks of who retired it and who destroys it may differ
// by Skew.
func (s Schedule) Tail() time.Duration {
	return ReloadMax + SignedLifetimeMax + Skew + max(s.MaxAge, Skew)
}

// Validate refuses a period in which keys would retire faster than verifiers learn of their successors.
func (s Schedule) Validate() error {
	if least := 2 * s.Lead(); s.Period < least || s.Period > PeriodMax {
		return fmt.Errorf("must be %s (twice the time a key is published before it signs) to %s", least, PeriodMax)
	}
	return nil
}

// kind of a step of the schedule.
type kind int

const (
	first    kind = iota // the issuer has no key of the use: one that is active at once, as no verifier can hold an older set
	create               // a pending key, always: a successor that everybody knows is there when the active key must go at once
	activate             // the pending key takes over and the active one retires
	destroy              // nothing signed with the key is alive
)

// step is what is to be done for one use, and at when at the earliest.
type step struct {
	kind kind
	use  Use
	key  Stored // that is activated or destroyed
	at   time.Time
}

// steps are what comes next for an issuer, soonest first. There always is something: some day the active key has signed long enough.
func (s Schedule) steps(set Set) []step {
	var all []step
	for _, use := range Uses() {
		all = append(all, s.stepsOf(set, use)...)
	}
	slices.SortStableFunc(all, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.kind, b.kind)) })
	return all
}

func (s Schedule) stepsOf(set Set, use Use) []step {
	active, ok := set.find(use, ActiveKey)
	if !ok {
		return []step{{kind: first, use: use}}
	}
	pending, ok := set.find(use, Pending)
	if !ok {
		return []step{{kind: create, use: use}}
	}
	all := []step{{kind: activate, use: use, key: pending, at: s.activation(active, pending)}}
	for _, k := range set.Keys {
		if k.Use == use && k.State == Retiring {
			all = append(all, step{kind: destroy, use: use, key: k, at: k.RetiredAt.Add(s.Tail())})
		}
	}
	return all
}

// activation is when a pending key may sign: it has been published long enough, and either the active key has signed for a period or an operator wants it.
func (s Schedule) activation(active, pending Stored) time.Time {
	at := active.ActivatedAt.Add(s.Period)
	if !pending.WantedAt.IsZero() && pending.WantedAt.Before(at) {
		at = pending.WantedAt
	}
	if known := s.known(pending); known.After(at) {
		at = known
	}
	return at
}

// known is from when on every verifier that keeps its cache no longer than MaxAge has the key.
func (s Schedule) known(k Stored) time.Time { return k.CreatedAt.Add(s.Lead()) }

// algorithm of a new key.
func algorithm(use Use, accessTokens jose.Algorithm) jose.Algorithm {
	if use == IDToken {
		return jose.RS256 // OpenID Connect Discovery 1.0 s3: id_token_signing_alg_values_supported must include RS256
	}
	return accessTokens
}
