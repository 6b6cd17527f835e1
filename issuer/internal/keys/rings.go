package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
)

const (
	pollEvery     = time.Second      // for changes of other processes; a thirtieth of ReloadMax
	scheduleEvery = 10 * time.Second // for steps that are due; they are never urgent
	leadFor       = time.Minute      // how long the schedule stands still when its process dies
	duePage       = 100              // issuers read at once
	// ringsMax bounds the organizations whose keys are in memory; a ring is some ten kilobytes. Others are read again when they are used.
	ringsMax = 4096
)

// Rings has the rings of every issuer. It is safe for concurrent use.
type Rings struct {
	store   Store
	sealer  Sealer
	rotator *Rotator
	now     func() time.Time
	log     *slog.Logger
	process string // name of this process in the schedule

	mu    sync.Mutex
	rings map[agentid.Organization]*entry
	seen  int64 // newest revision polled

	refreshing sync.Mutex // held by Refresh
	leading    bool       // only in Tick
}

// entry is a ring and the revision it has to reach.
type entry struct {
	Ring
	wanted int64 // only in Refresh
}

// NewRings returns rings that are read from the store when they are first used.
func NewRings(cfg Config, log *slog.Logger) (*Rings, error) {
	rotator, err := NewRotator(cfg)
	if err != nil {
		return nil, err
	}
	return &Rings{
		store: cfg.Store, sealer: cfg.Sealer, rotator: rotator, now: cfg.Now, log: log, process: rand.Text(),
		rings: make(map[agentid.Organization]*entry),
	}, nil
}

// Rotator changes the keys in the rings.
func (r *Rings) Rotator() *Rotator { return r.rotator }

// Of is the ring of an organization's issuer; of the instance's for the zero organization. Its first use makes its first keys: safe when several processes do it at
// once, as the store lets one win, and the others load the winner's.
func (r *Rings) Of(ctx context.Context, org agentid.Organization) (*Ring, error) {
	e := r.entry(org)
	if e.revision() > 0 {
		return &e.Ring, nil
	}
	if err := r.load(ctx, org, e, func() bool { return e.revision() == 0 }); err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	return &e.Ring, nil
}

// entry is in the map before its ring is read, so that Refresh knows that it has to follow changes.
func (r *Rings) entry(org agentid.Organization) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.rings[org]
	if !ok {
		r.makeRoom()
		e = &entry{Ring: Ring{now: r.now}}
		r.rings[org] = e
	}
	return e
}

// makeRoom forgets any ring but the instance's. Whoever holds it can use it for ReloadMax, longer than a request takes.
func (r *Rings) makeRoom() {
	for org := range r.rings {
		if len(r.rings) < ringsMax {
			return
		}
		if !org.IsZero() {
			delete(r.rings, org)
		}
	}
}

// load reads a ring, unless that is not needed any more when its turn comes.
func (r *Rings) load(ctx context.Context, org agentid.Organization, e *entry, needed func() bool) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	if !needed() {
		return nil
	}
	at := r.now()
	set, err := r.store.SigningKeys(ctx, org)
	if err != nil {
		return err
	}
	if r.rotator.cfg.Schedule.steps(set)[0].kind == first {
		if err := r.rotator.Begin(ctx, org); err != nil {
			return fmt.Errorf("first keys: %w", err)
		}
		at = r.now()
		if set, err = r.store.SigningKeys(ctx, org); err != nil {
			return err
		}
	}
	return e.replace(ctx, org, set, r.sealer, at)
}

// Refresh follows what other processes changed. A ring that cannot be read keeps what it has until that is too old to sign with.
func (r *Rings) Refresh(ctx context.Context) error {
	r.refreshing.Lock()
	defer r.refreshing.Unlock()
	at := r.now()
	r.mu.Lock()
	since := r.seen
	r.mu.Unlock()
	newest, changed, err := r.store.ChangedSigningKeys(ctx, since)
	if err != nil {
		return err
	}
	again := newest < since // the database was restored from a backup: nothing that was seen counts
	if again {
		if newest, changed, err = r.store.ChangedSigningKeys(ctx, 0); err != nil {
			return err
		}
	}
	var failed []error
	for org, e := range r.mark(newest, changed) {
		if again || e.wanted > e.revision() {
			if err := r.load(ctx, org, e, func() bool { return again || e.wanted > e.revision() }); err != nil {
				failed = append(failed, fmt.Errorf("signing keys of %q: %w", org, err))
				if again {
					e.current.Store(nil)
				}
				continue
			}
		}
		e.confirm(e.wanted, at)
	}
	return errors.Join(failed...)
}

// mark notes which revision each ring has to reach, and returns the rings there are.
func (r *Rings) mark(newest int64, changed []Revision) map[agentid.Organization]*entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changed {
		if e, ok := r.rings[c.Organization]; ok {
			e.wanted = c.Number
		}
	}
	r.seen = newest
	rings := make(map[agentid.Organization]*entry, len(r.rings))
	for org, e := range r.rings {
		rings[org] = e
	}
	return rings
}

// Follow refreshes until ctx ends.
func (r *Rings) Follow(ctx context.Context) error {
	return every(ctx, pollEvery, func() {
		if err := r.Refresh(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "signing keys not refreshed", "err", err)
		}
	})
}

// Tick takes the steps that are due, if this process leads. One that has just begun to lead looks at every issuer: the configuration may be another one.
func (r *Rings) Tick(ctx context.Context) error {
	at := r.now()
	if !r.leading {
		at = at.AddDate(100, 0, 0)
	}
	var after agentid.Organization
	var failed []error
	for {
		now := r.now()
		leads, err := r.store.LeadSigningSchedule(ctx, r.process, now, now.Add(leadFor))
		if err != nil || !leads {
			r.leading = false
			return errors.Join(append(failed, err)...)
		}
		due, err := r.store.DueSigningKeys(ctx, at, after, duePage)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		for _, org := range due {
			if _, err := r.rotator.Advance(ctx, org); err != nil {
				failed = append(failed, fmt.Errorf("signing keys of %q: %w", org, err))
			}
			after = org
		}
		if len(due) < duePage {
			r.leading = true
			return errors.Join(failed...)
		}
	}
}

// Schedule ticks until ctx ends.
func (r *Rings) Schedule(ctx context.Context) error {
	return every(ctx, scheduleEvery, func() {
		if err := r.Tick(ctx); err != nil && ctx.Err() == nil {
			r.log.ErrorContext(ctx, "signing key schedule", "err", err)
		}
	})
}

// every calls f at once and then at an interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
