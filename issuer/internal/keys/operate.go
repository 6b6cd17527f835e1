package keys

import (
	"context"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// triesMax of what an operator asked for, each on what another process left.
const triesMax = 8

// Keys returns an issuer's keys.
func (r *Rotator) Keys(ctx context.Context, org agentid.Organization) (Set, error) {
	return r.cfg.Store.SigningKeys(ctx, org)
}

// Known is from when on every verifier that keeps a key set no longer than it may has the key.
func (r *Rotator) Known(k Stored) time.Time { return r.cfg.Schedule.known(k) }

// Rotate makes the key of a use give way as soon as every verifier can know its successor: at once when the pending key has been published long enough. algorithm, for
// access tokens, is that of the issuer's keys from now on; "" leaves it.
func (r *Rotator) Rotate(ctx context.Context, actor audit.Actor, org agentid.Organization, use Use, alg jose.Algorithm) error {
	if !slices.Contains(Uses(), use) {
		return invalid("/use", "must be access_token or id_token")
	}
	if alg != "" && (use != AccessToken || !slices.Contains(AccessTokenAlgorithms(), alg)) {
		return invalid("/algorithm", "must be ES256 or EdDSA, and only for access tokens; ID tokens are signed with RS256")
	}
	err := r.decide(ctx, actor, org, func(set Set, now time.Time) (*Change, error) {
		return r.wanted(ctx, org, set, use, alg, now)
	})
	if err != nil {
		return err
	}
	_, _ = r.Advance(ctx, org) // what cannot be done now the schedule does
	return nil
}

// wanted is nil when the successor is wanted already.
func (r *Rotator) wanted(ctx context.Context, org agentid.Organization, set Set, use Use, alg jose.Algorithm, now time.Time) (*Change, error) {
	c := &Change{Action: audit.KeyRotate, Revision: set.Revision, Algorithm: set.Algorithm}
	if alg != "" {
		c.Algorithm = alg
	}
	pending, ok := set.find(use, Pending)
	if ok && pending.Algorithm == algorithm(use, r.accessTokens(Set{Algorithm: c.Algorithm})) {
		if !pending.WantedAt.IsZero() && c.Algorithm == set.Algorithm {
			return nil, nil
		}
		c.Target, c.Moves = pending.ID, []Move{{ID: pending.ID, From: Pending, To: Pending, At: now}}
		return c, nil
	}
	if ok { // of another algorithm; it has signed nothing
		c.Moves = []Move{{ID: pending.ID, From: Pending, To: Destroyed, At: now}}
	}
	key, err := r.generate(ctx, org, Set{Algorithm: c.Algorithm}, use, now)
	if err != nil {
		return nil, err
	}
	key.WantedAt = now
	c.Target, c.Create = key.ID, []Stored{key}
	return c, nil
}

// Revoke ends a key now. It leaves the key set and enters the revocation list, so that what it signed is dead; an active key is replaced in the same transaction: by the
// pending key, which verifiers know, or where there is none by a new one, which a verifier learns of when its cache runs out or when it asks for a key it does not
// know. That a revoked key does not sign one more token is worth that gap. The schedule makes the next pending key. A key that was revoked before is no error.
func (r *Rotator) Revoke(ctx context.Context, actor audit.Actor, org agentid.Organization, kid string) error {
	return r.decide(ctx, actor, org, func(set Set, now time.Time) (*Change, error) {
		i := slices.IndexFunc(set.Keys, func(k Stored) bool { return k.ID == kid })
		if i < 0 {
			return nil, &problem.Error{Kind: problem.NotFound, Code: "signing_key_not_found", Field: "/revokeKeyId", Detail: "the issuer has no such key"}
		}
		if set.Keys[i].State == Destroyed {
			return nil, nil
		}
		return r.revocation(ctx, org, set, set.Keys[i], now)
	})
}

func (r *Rotator) revocation(ctx context.Context, org agentid.Organization, set Set, k Stored, now time.Time) (*Change, error) {
	c := &Change{Action: audit.KeyRevoke, Target: k.ID, Revision: set.Revision, Algorithm: set.Algorithm}
	gone := Move{ID: k.ID, From: k.State, To: Destroyed, Revoked: true, At: now}
	pending, ok := set.find(k.Use, Pending)
	switch {
	case k.State != ActiveKey:
		c.Moves = []Move{gone}
	case ok:
		c.Moves = takeOver(set, pending, gone)
	default:
		key, err := r.generate(ctx, org, set, k.Use, now)
		if err != nil {
			return nil, err
		}
		key.State, key.ActivatedAt = ActiveKey, now
		c.Moves, c.Create = []Move{gone}, []Stored{key}
	}
	return c, nil
}

// decide makes a change that is decided on the keys as they are; when another process changes them meanwhile, it is decided again. A nil change is none.
func (r *Rotator) decide(ctx context.Context, actor audit.Actor, org agentid.Organization, on func(Set, time.Time) (*Change, error)) error {
	if err := r.Begin(ctx, org); err != nil {
		return err
	}
	for range triesMax {
		set, err := r.cfg.Store.SigningKeys(ctx, org)
		if err != nil {
			return err
		}
		c, err := on(set, r.clock())
		if c == nil || err != nil {
			return err
		}
		done, err := r.change(ctx, actor, org, set, *c)
		if done || err != nil {
			return err
		}
	}
	return &problem.Error{Kind: problem.Conflict, Code: "signing_keys_changing", Detail: "the keys are being changed by another process; try again"}
}

func invalid(field, detail string) error {
	return &problem.Error{Kind: problem.Invalid, Code: "signing_key_request", Field: field, Detail: detail}
}
