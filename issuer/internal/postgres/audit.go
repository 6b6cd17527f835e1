package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// auditRow encodes an event. The typed columns are copies of what the body says.
func (s *Store) auditRow(actor audit.Actor, org agentid.Organization, e event) (platformdb.InsertAuditRecordParams, error) {
	r := audit.Record{
		ID: agentid.New[agentid.Event](), OrganizationID: org, Time: s.clock(), Actor: actor, Action: e.action, Target: e.target, Details: e.details,
	}
	body, err := audit.Encode(r)
	if err != nil {
		return platformdb.InsertAuditRecordParams{}, err
	}
	return platformdb.InsertAuditRecordParams{
		OrgID: org.UUID(), Event: r.ID.UUID(), Ts: r.Time, Actor: actorText(actor), Action: string(e.action), Target: e.target,
		EncVersion: audit.EncodingVersion, Body: body,
	}, nil
}

func actorText(a audit.Actor) string {
	if a.ID == "" {
		return a.Kind
	}
	return a.Kind + ":" + a.ID
}

// AuditRecords implements audit.Store. The zero organization reads the instance's own log.
func (s *Store) AuditRecords(ctx context.Context, org agentid.Organization, f audit.Filter, before agentid.Event, limit int) ([]audit.Record, error) {
	rows, err := s.auditRows(ctx, org, orgdb.AuditRecordsParams{
		OrgID: org.UUID(), Action: orNull(string(f.Action)), Target: orNull(f.Target), Since: orNullTime(f.Since), Until: orNullTime(f.Until),
		Before: orNullUUID(before.UUID()), RowLimit: int32(limit),
	})
	if err != nil {
		return nil, asProblem(err, "audit event")
	}
	records := make([]audit.Record, 0, len(rows))
	for _, row := range rows {
		r, err := audit.Decode(int(row.EncVersion), row.Body)
		if err != nil {
			return nil, asProblem(err, "audit event")
		}
		records = append(records, r)
	}
	return records, nil
}

func (s *Store) auditRows(ctx context.Context, org agentid.Organization, arg orgdb.AuditRecordsParams) ([]orgdb.AuditRecordsRow, error) {
	if !org.IsZero() {
		q, err := s.orgOnce(org)
		if err != nil {
			return nil, err
		}
		return q.AuditRecords(ctx, arg)
	}
	rows, err := s.across().AuditRecords(ctx, platformdb.AuditRecordsParams(arg))
	if err != nil {
		return nil, err
	}
	same := make([]orgdb.AuditRecordsRow, len(rows))
	for i, row := range rows {
		same[i] = orgdb.AuditRecordsRow(row)
	}
	return same, nil
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func orNullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orNullUUID(u uuid.UUID) *uuid.UUID {
	if u == uuid.Nil {
		return nil
	}
	return &u
}

// orZeroTime is the other way: NULL is the zero time, everything else is UTC.
func orZeroTime(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
