package postgres

import (
	"context"
	"errors"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

const keysetNoun = "keyset"

// Keysets stores the data keys of internal/seal. New ones are recorded as made by actor.
func (s *Store) Keysets(actor audit.Actor) seal.Keysets { return &keysets{s, actor} }

type keysets struct {
	store *Store
	actor audit.Actor
}

// scopeOf reads a scope: "" is the instance, which is the zero organization.
func scopeOf(scope string) (agentid.Organization, error) {
	if scope == "" {
		return agentid.Organization{}, nil
	}
	return agentid.Parse[agentid.Organization](scope)
}

// Keyset implements seal.Keysets.
func (k *keysets) Keyset(ctx context.Context, scope string) (seal.WrappedKeyset, error) {
	row, err := k.row(ctx, scope)
	if isNoRows(err) {
		return seal.WrappedKeyset{}, seal.ErrNoKeyset
	}
	return seal.WrappedKeyset{Bytes: row.Wrapped, KEKID: row.KekID}, asProblem(err, keysetNoun)
}

func (k *keysets) row(ctx context.Context, scope string) (orgdb.KeysetRow, error) {
	org, err := scopeOf(scope)
	if err != nil {
		return orgdb.KeysetRow{}, err
	}
	if org.IsZero() {
		row, err := k.store.across().Keyset(ctx, org.UUID())
		return orgdb.KeysetRow(row), err
	}
	q, err := k.store.orgOnce(org)
	if err != nil {
		return orgdb.KeysetRow{}, err
	}
	return q.Keyset(ctx, org.UUID())
}

// CreateKeyset implements seal.Keysets. The primary key decides the race between instances.
func (k *keysets) CreateKeyset(ctx context.Context, scope string, w seal.WrappedKeyset) error {
	org, err := scopeOf(scope)
	if err != nil {
		return asProblem(err, keysetNoun)
	}
	arg := orgdb.InsertKeysetParams{OrgID: org.UUID(), Wrapped: w.Bytes, KekID: w.KEKID, CreatedAt: k.store.clock()}
	created := event{audit.KeysetCreate, scope, map[string]any{"kekId": w.KEKID}}
	if org.IsZero() {
		err = k.store.changeAcross(ctx, k.actor, org, func(q *platformdb.Queries) (event, error) {
			return created, q.InsertKeyset(ctx, platformdb.InsertKeysetParams(arg))
		})
	} else {
		err = k.store.changeInOrg(ctx, k.actor, org, func(q *orgdb.Queries) (event, error) { return created, q.InsertKeyset(ctx, arg) })
	}
	if violates(err, "keysets_pkey") {
		return seal.ErrKeysetExists
	}
	return asProblem(err, keysetNoun)
}

// ReplaceKeyset implements seal.Keysets.
func (k *keysets) ReplaceKeyset(ctx context.Context, scope string, old, next seal.WrappedKeyset) error {
	org, err := scopeOf(scope)
	if err != nil {
		return asProblem(err, keysetNoun)
	}
	arg := orgdb.ReplaceKeysetParams{OrgID: org.UUID(), Old: old.Bytes, Wrapped: next.Bytes, KekID: next.KEKID}
	replaced := func(n int64, err error) (event, error) {
		if err == nil && n == 0 {
			err = seal.ErrKeysetExists
		}
		return event{audit.KeysetRewrap, scope, map[string]any{"kekId": map[string]any{"from": old.KEKID, "to": next.KEKID}}}, err
	}
	if org.IsZero() {
		err = k.store.changeAcross(ctx, k.actor, org, func(q *platformdb.Queries) (event, error) {
			return replaced(q.ReplaceKeyset(ctx, platformdb.ReplaceKeysetParams(arg)))
		})
	} else {
		err = k.store.changeInOrg(ctx, k.actor, org, func(q *orgdb.Queries) (event, error) { return replaced(q.ReplaceKeyset(ctx, arg)) })
	}
	if errors.Is(err, seal.ErrKeysetExists) {
		return err
	}
	return asProblem(err, keysetNoun)
}
