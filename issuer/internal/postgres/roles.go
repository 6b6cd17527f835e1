package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The roles. The owner cannot log in: whoever migrates becomes it. The auditor cannot either: it is granted to people.
const (
	roleOwner    = "agentidp_owner"
	roleApp      = "agentidp_app"
	rolePlatform = "agentidp_platform"
	roleAuditor  = "agentidp_auditor"
)

var createRole = []struct{ name, sql string }{
	{roleOwner, "create role " + roleOwner + " nologin"},
	{roleApp, "create role " + roleApp + " login"},
	{rolePlatform, "create role " + rolePlatform + " login"},
	{roleAuditor, "create role " + roleAuditor + " nologin"},
}

// MissingRightsError is a first run by a role that may not do what is missing. SQL is for someone who may.
type MissingRightsError struct {
	Role string
	SQL  []string
	Err  error
}

// Error names the statements, so that the log line is all an operator needs.
func (e *MissingRightsError) Error() string {
	return fmt.Sprintf("role %s may not prepare the database (%v); run this as a superuser, then start again: %s", e.Role, e.Err, strings.Join(e.SQL, "; ")+";")
}

// Unwrap gives errors.As the server's refusal.
func (e *MissingRightsError) Unwrap() error { return e.Err }

// prepare makes what migrations cannot: the roles, the schema, and the right to become its owner. All of it in one transaction.
func prepare(ctx context.Context, conn *pgx.Conn) error {
	missing, err := missingSQL(ctx, conn)
	if err != nil || len(missing) == 0 {
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range missing {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	const insufficientPrivilege = "42501"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == insufficientPrivilege {
		return &MissingRightsError{Role: conn.Config().User, SQL: missing, Err: err}
	}
	// Roles belong to the whole cluster: another database may have been prepared in the meantime.
	again, checkErr := missingSQL(ctx, conn)
	if checkErr != nil {
		return errors.Join(err, checkErr)
	}
	if len(again) < len(missing) {
		return prepare(ctx, conn)
	}
	return fmt.Errorf("prepare the database: %w", err)
}

// missingSQL is empty when the connecting role can migrate.
func missingSQL(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	var roles []string
	var superuser, hasSchema bool
	err := conn.QueryRow(ctx, `
		select array(select rolname::text from pg_roles where starts_with(rolname, 'agentidp_')),
			(select rolsuper from pg_roles where rolname = current_user),
			exists (select from pg_namespace where nspname = $1)`, schema).Scan(&roles, &superuser, &hasSchema)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, r := range createRole {
		if !slices.Contains(roles, r.name) {
			missing = append(missing, r.sql)
		}
	}
	if !superuser && (len(missing) > 0 || !mayBecomeOwner(ctx, conn)) {
		missing = append(missing, "grant "+roleOwner+" to "+pgx.Identifier{conn.Config().User}.Sanitize())
	}
	if !hasSchema {
		missing = append(missing, "create schema "+schema+" authorization "+roleOwner)
	}
	return missing, nil
}

// mayBecomeOwner tries: membership alone does not say it (PostgreSQL 16 has memberships without SET).
func mayBecomeOwner(ctx context.Context, conn *pgx.Conn) bool {
	if _, err := conn.Exec(ctx, "set role "+roleOwner); err != nil {
		return false
	}
	_, err := conn.Exec(ctx, "reset role")
	return err == nil
}
