package keys

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// scheduler is who takes the steps that nobody asked for.
var scheduler = audit.Actor{Kind: audit.KindSystem, ID: "issuer/keys"}

// acknowledgementRetry is when a step that waits for verifiers is looked at again.
const acknowledgementRetry = time.Minute

// Config of the keys.
type Config struct {
	Store     Store
	Sealer    Sealer
	Schedule  Schedule
	Algorithm jose.Algorithm // of access tokens, where no operator chose another
	// Acknowledged, when set, is asked before a key is activated whether the verifiers that report to us have it. It only ever delays: the published time must have
	// passed as well. A revocation does not ask.
	Acknowledged func(ctx context.Context, org agentid.Organization, kid string) (bool, error)
	Now          func() time.Time
	// Generate makes keys; jose.GenerateSigningKey unless a test has its own.
	Generate func(jose.Algorithm) (*jose.SigningKey, error)
}

// Rotator changes keys. Any number of processes may each have one: every step is decided on a revision, and done only if the issuer still has it.
type Rotator struct{ cfg Config }

// NewRotator returns a Rotator.
func NewRotator(cfg Config) (*Rotator, error) {
	if err := cfg.Schedule.Validate(); err != nil {
		return nil, fmt.Errorf("rotation period: %w", err)
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = jose.ES256
	}
	if !slices.Contains(AccessTokenAlgorithms(), cfg.Algorithm) {
		return nil, fmt.Errorf("access tokens are not signed with %q", cfg.Algorithm)
	}
	if cfg.Generate == nil {
		cfg.Generate = jose.GenerateSigningKey
	}
	return &Rotator{cfg}, nil
}

func (r *Rotator) clock() time.Time { return r.cfg.Now().UTC().Truncate(time.Microsecond) }

// stepsMax of one call: more than an issuer can have due after any outage (one destruction for each retiring key, and one of each other kind, per use).
const stepsMax = 64

// Advance takes every step of an issuer that is due, and returns when the next one is. An issuer without keys gets its first. When another process is faster the
// rest is decided anew.
func (r *Rotator) Advance(ctx context.Context, org agentid.Organization) (due time.Time, err error) {
	for range stepsMax {
		set, err := r.cfg.Store.SigningKeys(ctx, org)
		if err != nil {
			return time.Time{}, err
		}
		now := r.clock()
		next, due, err := r.choose(ctx, org, set, now)
		if err != nil {
			return due, err
		}
		if next == nil {
			return due, r.cfg.Store.PostponeSigningKeys(ctx, org, set.Revision, due)
		}
		if err := r.take(ctx, org, set, *next, now); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("still not done after %d steps", stepsMax)
}

// Begin gives an issuer without keys its first, which is all it needs to sign; the schedule does the rest.
func (r *Rotator) Begin(ctx context.Context, org agentid.Organization) error {
	for range stepsMax {
		set, err := r.cfg.Store.SigningKeys(ctx, org)
		if err != nil {
			return err
		}
		next := r.cfg.Schedule.steps(set)[0]
		if next.kind != first {
			return nil
		}
		if err := r.take(ctx, org, set, next, r.clock()); err != nil {
			return err
		}
	}
	return fmt.Errorf("no first keys after %d tries", stepsMax)
}

// choose returns the first step that is due and need not wait, or when to look again.
func (r *Rotator) choose(ctx context.Context, org agentid.Organization, set Set, now time.Time) (*step, time.Time, error) {
	due := now.Add(PeriodMax)
	for _, next := range r.cfg.Schedule.steps(set) {
		if next.at.After(now) {
			due = earlier(due, next.at)
			break
		}
		wait, err := r.unknownYet(ctx, org, next)
		if err != nil {
			return nil, now.Add(acknowledgementRetry), err
		}
		if !wait {
			return &next, now, nil
		}
		due = earlier(due, now.Add(acknowledgementRetry))
	}
	return nil, due, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// unknownYet asks for acknowledgements, where they are asked for.
func (r *Rotator) unknownYet(ctx context.Context, org agentid.Organization, next step) (bool, error) {
	if next.kind != activate || r.cfg.Acknowledged == nil {
		return false, nil
	}
	known, err := r.cfg.Acknowledged(ctx, org, next.key.ID)
	if err != nil {
		return true, fmt.Errorf("ask who knows key %s: %w", next.key.ID, err)
	}
	return !known, nil
}

// take does one step of the schedule.
func (r *Rotator) take(ctx context.Context, org agentid.Organization, set Set, next step, now time.Time) error {
	c := Change{Target: next.key.ID, Revision: set.Revision, Algorithm: set.Algorithm}
	switch next.kind {
	case first, create:
		key, err := r.generate(ctx, org, set, next.use, now)
		if err != nil {
			return fmt.Errorf("new %s key: %w", next.use, err)
		}
		if next.kind == first {
			key.State, key.ActivatedAt = ActiveKey, now
		}
		c.Action, c.Target, c.Create = audit.KeyCreate, key.ID, []Stored{key}
	case activate:
		c.Action = audit.KeyActivate
		c.Moves = takeOver(set, next.key, Move{To: Retiring, At: now})
	case destroy:
		c.Action = audit.KeyDestroy
		c.Moves = []Move{{ID: next.key.ID, From: Retiring, To: Destroyed, At: now}}
	default:
		return fmt.Errorf("no such step: %d", next.kind)
	}
	_, err := r.change(ctx, scheduler, org, set, c)
	return err
}

// takeOver makes successor the active key; gone says what becomes of the one before.
func takeOver(set Set, successor Stored, gone Move) []Move {
	active, ok := set.find(successor.Use, ActiveKey)
	moves := []Move{{ID: successor.ID, From: Pending, To: ActiveKey, At: gone.At}}
	if ok {
		gone.ID, gone.From = active.ID, ActiveKey
		moves = append([]Move{gone}, moves...) // first: there is never more than one active key
	}
	return moves
}

// change completes a change with the time of what comes next. It is not done, and that is no error, when somebody else changed the keys meanwhile: what was decided
// may not be right any more.
func (r *Rotator) change(ctx context.Context, actor audit.Actor, org agentid.Organization, set Set, c Change) (done bool, err error) {
	c.DueAt = r.cfg.Schedule.steps(set.apply(c))[0].at
	if c.DueAt.IsZero() { // something is missing
		c.DueAt = r.clock()
	}
	err = r.cfg.Store.ChangeSigningKeys(ctx, actor, org, c)
	if problem.KindOf(err) == problem.Conflict {
		return false, nil
	}
	return err == nil, err
}

// generate makes a key that is pending.
func (r *Rotator) generate(ctx context.Context, org agentid.Organization, set Set, use Use, now time.Time) (Stored, error) {
	alg := algorithm(use, r.accessTokens(set))
	key, err := r.cfg.Generate(alg)
	if err != nil {
		return Stored{}, err
	}
	private, err := key.PKCS8()
	if err != nil {
		return Stored{}, err
	}
	defer clear(private)
	sealed, err := r.cfg.Sealer.Seal(ctx, place(org, key.ID()), private)
	if err != nil {
		return Stored{}, err
	}
	return Stored{
		ID: key.ID(), Use: use, Algorithm: key.Algorithm(), State: Pending, PublicJWK: key.PublicJWK(), Sealed: sealed, CreatedAt: now,
	}, nil
}

func (r *Rotator) accessTokens(set Set) jose.Algorithm {
	if set.Algorithm != "" {
		return set.Algorithm
	}
	return r.cfg.Algorithm
}
