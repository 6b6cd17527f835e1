package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

const keyNoun = "signing key"

// signingQueries are about the keys of one issuer. Those of an organization are asked by the app role inside it, those of the instance by the platform role.
type signingQueries interface {
	SigningIssuer(ctx context.Context, org uuid.UUID) (orgdb.SigningIssuerRow, error)
	SigningKeys(ctx context.Context, arg orgdb.SigningKeysParams) ([]orgdb.SigningKeysRow, error)
	NextSigningRevision(ctx context.Context) (int64, error)
	InsertSigningIssuer(ctx context.Context, arg orgdb.InsertSigningIssuerParams) error
	UpdateSigningIssuer(ctx context.Context, arg orgdb.UpdateSigningIssuerParams) (int64, error)
	PostponeSigningIssuer(ctx context.Context, arg orgdb.PostponeSigningIssuerParams) error
	InsertSigningKey(ctx context.Context, arg orgdb.InsertSigningKeyParams) error
	MoveSigningKey(ctx context.Context, arg orgdb.MoveSigningKeyParams) (int64, error)
}

// instanceSigning are the same queries as the platform role. sqlc makes one set of types for each role.
type instanceSigning struct{ *platformdb.Queries }

func (q instanceSigning) SigningIssuer(ctx context.Context, org uuid.UUID) (orgdb.SigningIssuerRow, error) {
	row, err := q.Queries.SigningIssuer(ctx, org)
	return orgdb.SigningIssuerRow(row), err
}

func (q instanceSigning) SigningKeys(ctx context.Context, arg orgdb.SigningKeysParams) ([]orgdb.SigningKeysRow, error) {
	rows, err := q.Queries.SigningKeys(ctx, platformdb.SigningKeysParams(arg))
	same := make([]orgdb.SigningKeysRow, len(rows))
	for i, row := range rows {
		same[i] = orgdb.SigningKeysRow(row)
	}
	return same, err
}

func (q instanceSigning) InsertSigningIssuer(ctx context.Context, arg orgdb.InsertSigningIssuerParams) error {
	return q.Queries.InsertSigningIssuer(ctx, platformdb.InsertSigningIssuerParams(arg))
}

func (q instanceSigning) UpdateSigningIssuer(ctx context.Context, arg orgdb.UpdateSigningIssuerParams) (int64, error) {
	return q.Queries.UpdateSigningIssuer(ctx, platformdb.UpdateSigningIssuerParams(arg))
}

func (q instanceSigning) PostponeSigningIssuer(ctx context.Context, arg orgdb.PostponeSigningIssuerParams) error {
	return q.Queries.PostponeSigningIssuer(ctx, platformdb.PostponeSigningIssuerParams(arg))
}

func (q instanceSigning) InsertSigningKey(ctx context.Context, arg orgdb.InsertSigningKeyParams) error {
	return q.Queries.InsertSigningKey(ctx, platformdb.InsertSigningKeyParams(arg))
}

func (q instanceSigning) MoveSigningKey(ctx context.Context, arg orgdb.MoveSigningKeyParams) (int64, error) {
	return q.Queries.MoveSigningKey(ctx, platformdb.MoveSigningKeyParams(arg))
}

// signing gives the queries, each in its own transaction.
func (s *Store) signing(org agentid.Organization) (signingQueries, error) {
	if org.IsZero() {
		return instanceSigning{s.across()}, nil
	}
	return s.orgOnce(org)
}

// SigningKeys implements keys.Store. The revision is read first: when the keys change in between they are newer than it says, and nothing can be decided on it.
func (s *Store) SigningKeys(ctx context.Context, org agentid.Organization) (keys.Set, error) {
	q, err := s.signing(org)
	if err != nil {
		return keys.Set{}, asProblem(err, keyNoun)
	}
	issuer, err := q.SigningIssuer(ctx, org.UUID())
	if isNoRows(err) {
		return keys.Set{}, nil
	}
	if err != nil {
		return keys.Set{}, asProblem(err, keyNoun)
	}
	rows, err := q.SigningKeys(ctx, orgdb.SigningKeysParams{OrgID: org.UUID(), RevokedSince: s.clock().Add(-tokenLifetimeMax)})
	if err != nil {
		return keys.Set{}, asProblem(err, keyNoun)
	}
	set := keys.Set{Revision: issuer.Revision, Algorithm: jose.Algorithm(issuer.Algorithm)}
	for _, row := range rows {
		set.Keys = append(set.Keys, keys.Stored{
			ID: row.ID, Use: keys.Use(row.Use), Algorithm: jose.Algorithm(row.Algorithm), State: keys.State(row.State),
			PublicJWK: json.RawMessage(row.PublicJwk), Sealed: row.Sealed, CreatedAt: row.CreatedAt.UTC(),
			ActivatedAt: orZeroTime(row.ActivatedAt), WantedAt: orZeroTime(row.WantedAt), RetiredAt: orZeroTime(row.RetiredAt),
			RevokedAt: orZeroTime(row.RevokedAt), DestroyedAt: orZeroTime(row.DestroyedAt),
		})
	}
	return set, nil
}

// ChangeSigningKeys implements keys.Store.
func (s *Store) ChangeSigningKeys(ctx context.Context, actor audit.Actor, org agentid.Organization, c keys.Change) error {
	var err error
	if org.IsZero() {
		err = s.changeAcross(ctx, actor, org, func(q *platformdb.Queries) (event, error) { return changeKeys(ctx, instanceSigning{q}, org, c) })
	} else {
		err = s.changeInOrg(ctx, actor, org, func(q *orgdb.Queries) (event, error) { return changeKeys(ctx, q, org, c) })
	}
	return asProblem(err, keyNoun)
}

// changeKeys takes the next revision first, whose row every change of any issuer waits for: revisions become visible in their order.
func changeKeys(ctx context.Context, q signingQueries, org agentid.Organization, c keys.Change) (event, error) {
	revision, err := q.NextSigningRevision(ctx)
	if err != nil {
		return event{}, err
	}
	if err := takeRevision(ctx, q, org, c, revision); err != nil {
		return event{}, err
	}
	for _, m := range c.Moves { // before new keys come: there is one active key, and one pending, at any moment
		moved := m.Apply(keys.Stored{})
		n, err := q.MoveSigningKey(ctx, orgdb.MoveSigningKeyParams{
			OrgID: org.UUID(), ID: m.ID, FromState: string(m.From), ToState: string(m.To),
			ActivatedAt: orNullTime(moved.ActivatedAt), WantedAt: orNullTime(moved.WantedAt), RetiredAt: orNullTime(moved.RetiredAt),
			RevokedAt: orNullTime(moved.RevokedAt), DestroyedAt: orNullTime(moved.DestroyedAt),
		})
		if err != nil {
			return event{}, err
		}
		if n != 1 {
			return event{}, keysChanged()
		}
	}
	for _, k := range c.Create {
		err := q.InsertSigningKey(ctx, orgdb.InsertSigningKeyParams{
			OrgID: org.UUID(), ID: k.ID, Use: string(k.Use), Algorithm: string(k.Algorithm), State: string(k.State), PublicJwk: k.PublicJWK,
			Sealed: k.Sealed, CreatedAt: k.CreatedAt, ActivatedAt: orNullTime(k.ActivatedAt), WantedAt: orNullTime(k.WantedAt),
		})
		if err != nil {
			return event{}, err
		}
	}
	return event{c.Action, c.Target, keyDetails(c)}, nil
}

// takeRevision is what lets one of several processes make a change.
func takeRevision(ctx context.Context, q signingQueries, org agentid.Organization, c keys.Change, revision int64) error {
	if c.Revision == 0 {
		return q.InsertSigningIssuer(ctx, orgdb.InsertSigningIssuerParams{
			OrgID: org.UUID(), Revision: revision, Algorithm: string(c.Algorithm), DueAt: c.DueAt,
		})
	}
	n, err := q.UpdateSigningIssuer(ctx, orgdb.UpdateSigningIssuerParams{
		OrgID: org.UUID(), Seen: c.Revision, Revision: revision, Algorithm: string(c.Algorithm), DueAt: c.DueAt,
	})
	if err == nil && n != 1 {
		err = keysChanged()
	}
	return err
}

func keysChanged() error {
	return &problem.Error{Kind: problem.Conflict, Code: "signing_keys_changing", Detail: "another process changed the keys"}
}

func keyDetails(c keys.Change) map[string]any {
	details := map[string]any{}
	for _, k := range c.Create {
		details["created"] = map[string]any{"id": k.ID, "use": string(k.Use), "algorithm": string(k.Algorithm), "state": string(k.State)}
	}
	var moves []any
	for _, m := range c.Moves {
		moves = append(moves, map[string]any{"id": m.ID, "from": string(m.From), "to": string(m.To)})
	}
	if moves != nil {
		details["moved"] = moves
	}
	return details
}

// PostponeSigningKeys implements keys.Store. It changes no key: due_at remembers what anybody can compute.
func (s *Store) PostponeSigningKeys(ctx context.Context, org agentid.Organization, revision int64, due time.Time) error {
	q, err := s.signing(org)
	if err != nil {
		return asProblem(err, keyNoun)
	}
	return asProblem(q.PostponeSigningIssuer(ctx, orgdb.PostponeSigningIssuerParams{OrgID: org.UUID(), Seen: revision, DueAt: due}), keyNoun)
}

// ChangedSigningKeys implements keys.Store. The newest revision is read first: what comes in between is found again next time.
func (s *Store) ChangedSigningKeys(ctx context.Context, since int64) (newest int64, changed []keys.Revision, err error) {
	if newest, err = s.across().SigningRevision(ctx); err != nil || newest == since {
		return newest, nil, asProblem(err, keyNoun)
	}
	rows, err := s.across().ChangedSigningIssuers(ctx, since)
	if err != nil {
		return 0, nil, asProblem(err, keyNoun)
	}
	for _, row := range rows {
		changed = append(changed, keys.Revision{Organization: agentid.FromUUID[agentid.Organization](row.OrgID), Number: row.Revision})
	}
	return newest, changed, nil
}

// DueSigningKeys implements keys.Store. The instance, whose id is nil, comes first.
func (s *Store) DueSigningKeys(ctx context.Context, at time.Time, after agentid.Organization, limit int) ([]agentid.Organization, error) {
	rows, err := s.across().DueSigningIssuers(ctx, platformdb.DueSigningIssuersParams{At: at, First: after.IsZero(), After: after.UUID(), RowLimit: int32(limit)})
	if err != nil {
		return nil, asProblem(err, keyNoun)
	}
	due := make([]agentid.Organization, 0, len(rows))
	for _, id := range rows {
		due = append(due, agentid.FromUUID[agentid.Organization](id))
	}
	return due, nil
}

// LeadSigningSchedule implements keys.Store. Who leads changes nothing that is audited: every step is decided by its revision, also when two believe that they lead.
func (s *Store) LeadSigningSchedule(ctx context.Context, process string, now, until time.Time) (bool, error) {
	n, err := s.across().LeadSigningSchedule(ctx, platformdb.LeadSigningScheduleParams{Leader: process, At: now, Until: until})
	return n == 1, asProblem(err, keyNoun)
}
