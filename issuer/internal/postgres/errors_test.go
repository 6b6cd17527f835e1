package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

func TestErrorsAreMappedByKind(t *testing.T) {
	t.Parallel()
	server := func(code, constraint string) error { return &pgconn.PgError{Code: code, ConstraintName: constraint} }
	own := &problem.Error{Kind: problem.Forbidden, Code: "mine"}
	for name, c := range map[string]struct {
		err  error
		kind problem.Kind
		code string
	}{
		"our own":               {fmt.Errorf("wrapped: %w", own), problem.Forbidden, "mine"},
		"no rows":               {pgx.ErrNoRows, problem.NotFound, "signing_key_not_found"},
		"slug taken":            {server("23505", "organization_slugs_pkey"), problem.Conflict, "slug_taken"},
		"name taken":            {server("23505", "agents_name_key"), problem.Conflict, "name_taken"},
		"still has agents":      {server("23503", "agents_organization_fkey"), problem.Conflict, "organization_has_agents"},
		"unknown constraint":    {server("23505", "audit_logs_event_key"), problem.Internal, ""},
		"check constraint":      {server("23514", "agents_status_check"), problem.Internal, ""},
		"row-level security":    {server("42501", ""), problem.Internal, ""},
		"serialization":         {server("40001", ""), problem.Unavailable, "store_unavailable"},
		"deadlock":              {server("40P01", ""), problem.Unavailable, "store_unavailable"},
		"lock timeout":          {server("55P03", ""), problem.Unavailable, "store_unavailable"},
		"statement timeout":     {server("57014", ""), problem.Unavailable, "store_unavailable"},
		"idle in transaction":   {server("25P03", ""), problem.Unavailable, "store_unavailable"},
		"a replica":             {server("25006", ""), problem.Unavailable, "store_unavailable"},
		"too many connections":  {server("53300", ""), problem.Unavailable, "store_unavailable"},
		"disk full":             {server("53100", ""), problem.Unavailable, "store_unavailable"},
		"shutting down":         {server("57P01", ""), problem.Unavailable, "store_unavailable"},
		"starting up":           {server("57P03", ""), problem.Unavailable, "store_unavailable"},
		"connection lost":       {server("08006", ""), problem.Unavailable, "store_unavailable"},
		"connection closed":     {fmt.Errorf("receive: %w", io.ErrUnexpectedEOF), problem.Unavailable, "store_unavailable"},
		"the caller went away":  {context.Canceled, problem.Unavailable, "store_unavailable"},
		"the caller's deadline": {context.DeadlineExceeded, problem.Unavailable, "store_unavailable"},
		"anything else":         {errors.New("boom"), problem.Internal, ""},
	} {
		err := postgres.AsProblem(c.err, "signing key")
		wantProblem(t, name, err, c.kind, c.code)
		if p, ok := errors.AsType[*problem.Error](err); ok && (p.RetryAfter > 0) != (c.kind == problem.Unavailable) {
			t.Errorf("%s: retry after %s", name, p.RetryAfter)
		}
		if c.kind != problem.NotFound && !errors.Is(err, c.err) {
			t.Errorf("%s: the operator loses the cause: %v", name, err)
		}
	}
	if postgres.AsProblem(nil, "") != nil {
		t.Error("nil became an error")
	}
}

// The table of conflicts is shared: a returned problem must not carry an earlier request's cause.
func TestConflictsDoNotShareTheirCause(t *testing.T) {
	t.Parallel()
	first := postgres.AsProblem(&pgconn.PgError{Code: "23505", ConstraintName: "agents_name_key", Detail: "one"}, "agent")
	second := postgres.AsProblem(&pgconn.PgError{Code: "23505", ConstraintName: "agents_name_key", Detail: "two"}, "agent")
	if a, b := errors.Unwrap(first).(*pgconn.PgError), errors.Unwrap(second).(*pgconn.PgError); a.Detail != "one" || b.Detail != "two" {
		t.Errorf("%q, %q", a.Detail, b.Detail)
	}
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	wantProblem(t, what, err, problem.Unavailable, "store_unavailable")
	if p, ok := errors.AsType[*problem.Error](err); ok && p.RetryAfter <= 0 {
		t.Errorf("%s: no RetryAfter", what)
	}
}

// When every connection is busy a caller is told after a bounded wait, and the busy ones finish.
func TestWaitForAConnectionIsBounded(t *testing.T) {
	t.Parallel()
	const wait = 50 * time.Millisecond
	b := setup(t, func(cfg *postgres.Config) { cfg.ConnectionsMax, cfg.PoolWaitMax = 1, wait })
	o := b.newOrganization(t, "acme")
	_, err := b.UpdateOrganization(t.Context(), operator, o.ID, 0, func(*orgs.Organization) error {
		begun := time.Now()
		_, err := b.Organizations(t.Context(), agentid.Organization{}, 1) // the platform pool's one connection is ours
		wantUnavailable(t, "read", err)
		wantUnavailable(t, "ping", b.Ping(t.Context()))
		wantUnavailable(t, "write", b.DeleteOrganization(t.Context(), operator, o.ID, 0))
		if took := time.Since(begun); took < 3*wait {
			t.Errorf("gave up after %s, before the wait was over", took)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := b.Ping(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// The server takes the connection away in the middle of a change: unavailable, nothing stored, and the next change works on a new connection.
func TestConnectionTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super := w.db.Superuser(t)
	before := dump(t, super)
	_, err := w.UpdateOrganization(t.Context(), operator, w.org.ID, 0, func(o *orgs.Organization) error {
		o.DisplayName = "lost"
		query[bool](t, super, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		return nil
	})
	wantUnavailable(t, "update", err)
	if dump(t, super) != before {
		t.Error("something was stored")
	}
	wantRecovery(t, func() error { _, err := w.orgs.Update(t.Context(), operator, w.org.ID, 0, orgs.Update{}); return err })
}

// wantRecovery calls until it works: each dead connection of the two pools is found out at most once.
func wantRecovery(t *testing.T, call func() error) {
	t.Helper()
	var err error
	for range 2 * 10 {
		if err = call(); err == nil {
			return
		}
		wantUnavailable(t, "on a dead connection", err)
	}
	t.Errorf("it never recovers: %v", err)
}

func TestDatabaseThatRefusesConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super, elsewhere := w.db.Superuser(t), w.db.Connect(t, w.db.OwnerDSN)
	exec(t, elsewhere, "alter database "+w.db.Name+" connection limit 0")
	query[bool](t, super, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename like 'agentidp%'")
	for range 10 { // connections the pool still believes in
		_, err := w.Agent(t.Context(), w.agent.ID)
		wantUnavailable(t, "read", err)
	}
	_, _, err := w.agents.AuthenticateSecret(t.Context(), w.agent.ID.String(), "x")
	wantUnavailable(t, "client authentication", err)
	wantUnavailable(t, "token", w.RecordTokenIssued(t.Context(), operator, w.issuance()))
	_, err = w.AuditRecords(t.Context(), w.org.ID, audit.Filter{}, agentid.Event{}, 1)
	wantUnavailable(t, "audit", err)
	exec(t, elsewhere, "alter database "+w.db.Name+" connection limit -1")
	wantRecovery(t, func() error { _, err := w.Agent(t.Context(), w.agent.ID); return err })
}

func TestLockedRowIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	blocker := w.db.Superuser(t)
	exec(t, blocker, "begin")
	exec(t, blocker, "select 1 from agents where id = $1 for update", w.agent.ID.UUID())
	_, err := w.agents.Suspend(t.Context(), operator, w.agent.ID)
	wantUnavailable(t, "suspend", err)
	exec(t, blocker, "rollback")
	if _, err := w.agents.Suspend(t.Context(), operator, w.agent.ID); err != nil {
		t.Error(err)
	}
}

func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super := w.db.Superuser(t)
	before := dump(t, super)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := w.UpdateOrganization(ctx, operator, w.org.ID, 0, func(o *orgs.Organization) error {
		o.DisplayName = "late"
		cancel()
		return nil
	})
	wantUnavailable(t, "update", err)
	if dump(t, super) != before {
		t.Error("something was stored")
	}
}
