package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// event is what a change adds to the audit log.
type event struct {
	action  audit.Action
	target  string
	details map[string]any
}

// inOrg runs fn in a transaction of the app role that sees org and nothing else.
func (s *Store) inOrg(ctx context.Context, org agentid.Organization, fn func(*orgdb.Queries) error) error {
	if org.IsZero() {
		return errNoOrganization
	}
	return s.app.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setOrganization, org.UUID().String()); err != nil {
			return err
		}
		return fn(orgdb.New(tx))
	})
}

var errNoOrganization = errors.New("no organization: the app role works inside one")

// orgOnce gives the queries of the app role inside org, each in its own transaction and one round trip.
func (s *Store) orgOnce(org agentid.Organization) (*orgdb.Queries, error) {
	if org.IsZero() {
		return nil, errNoOrganization
	}
	return orgdb.New(once{s.app, org.UUID().String()}), nil
}

// across gives the queries of the platform role, each in its own transaction and one round trip.
func (s *Store) across() *platformdb.Queries { return platformdb.New(once{pool: s.platform}) }

// changeInOrg is the one way to change something inside an organization: fn's change and the audit row of the event it returns are committed together, or
// neither is.
func (s *Store) changeInOrg(ctx context.Context, actor audit.Actor, org agentid.Organization, fn func(*orgdb.Queries) (event, error)) error {
	if err := actor.Validate(); err != nil {
		return err
	}
	return s.inOrg(ctx, org, func(q *orgdb.Queries) error {
		e, err := fn(q)
		if err != nil {
			return err
		}
		row, err := s.auditRow(actor, org, e)
		if err != nil {
			return err
		}
		return q.InsertAuditRecord(ctx, orgdb.InsertAuditRecordParams(row))
	})
}

// changeAcross is changeInOrg for the platform role: organizations themselves, and what belongs to the instance (org is zero).
func (s *Store) changeAcross(ctx context.Context, actor audit.Actor, org agentid.Organization, fn func(*platformdb.Queries) (event, error)) error {
	if err := actor.Validate(); err != nil {
		return err
	}
	return s.platform.inTx(ctx, func(tx pgx.Tx) error {
		q := platformdb.New(tx)
		e, err := fn(q)
		if err != nil {
			return err
		}
		row, err := s.auditRow(actor, org, e)
		if err != nil {
			return err
		}
		return q.InsertAuditRecord(ctx, row)
	})
}
