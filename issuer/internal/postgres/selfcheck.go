package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Finding names one reason not to work with a database.
type Finding string

// The findings. Each has a test against a real server.
const (
	FindingSuperuser         Finding = "superuser"           // row-level security does not apply to a superuser
	FindingBypassRLS         Finding = "bypass_rls"          // nor to a role with BYPASSRLS
	FindingOwner             Finding = "owner"               // the owner can take the policies away
	FindingRole              Finding = "role"                // not (only) the role the policies are written for
	FindingUnforcedRLS       Finding = "unforced_rls"        // a table of organizations without forced row-level security
	FindingSchemaVersion     Finding = "schema_version"      // another schema than this binary was built for
	FindingServerVersion     Finding = "server_version"      // a server with known holes in row security
	FindingDifferentDatabase Finding = "different_databases" // the two roles do not see the same data
)

// SelfCheckError is every finding of a start-up, each with its explanation.
type SelfCheckError struct{ Findings []FoundProblem }

// FoundProblem is a finding and what exactly was found.
type FoundProblem struct {
	Finding Finding
	Detail  string
}

// Error lists all findings on one line.
func (e *SelfCheckError) Error() string {
	texts := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		texts[i] = string(f.Finding) + ": " + f.Detail
	}
	return "refusing to work with this database: " + strings.Join(texts, "; ")
}

// serverMinimums are the first minor versions of each major without known ways around row-level security: CVE-2025-8713 (statistics leak hidden rows).
// Older majors are refused, newer ones accepted.
var serverMinimums = map[int]int{15: 14, 16: 10, 17: 6}

// session is what one connection can say about its role and the server.
type session struct {
	name            string // of the role the issuer means to be
	user            string
	super           bool
	bypass          bool
	owner           bool
	member          bool // of the role it should be
	other           bool // of the role it should not be
	serverNumber    int
	serverText      string
	database        string // identifies server and database
	schemaVersion   int64
	unforced        []string
	schemaUnreached bool
}

func (s *Store) selfCheck(ctx context.Context, minimums map[int]int) error {
	app, err := inspect(ctx, s.app, roleApp, rolePlatform)
	if err != nil {
		return err
	}
	platform, err := inspect(ctx, s.platform, rolePlatform, roleApp)
	if err != nil {
		return err
	}
	found := slices.Concat(app.roleFindings(), platform.roleFindings(), app.databaseFindings(minimums))
	if app.database != platform.database {
		found = append(found, FoundProblem{FindingDifferentDatabase, "the app and platform DSNs reach different databases"})
	}
	if len(found) > 0 {
		return &SelfCheckError{found}
	}
	return nil
}

func (s session) roleFindings() []FoundProblem {
	var found []FoundProblem
	note := func(bad bool, f Finding, format string, args ...any) {
		if bad {
			found = append(found, FoundProblem{f, fmt.Sprintf(format, args...)})
		}
	}
	note(s.super, FindingSuperuser, "%s is a superuser; connect as %s", s.user, s.name)
	note(s.bypass, FindingBypassRLS, "%s has BYPASSRLS; alter role %s nobypassrls", s.user, s.user)
	note(s.owner, FindingOwner, "%s owns the schema or a table, or may become %s", s.user, roleOwner)
	note(!s.member, FindingRole, "%s is not %s nor a member of it", s.user, s.name)
	note(s.other && !s.super, FindingRole, "%s combines roles that must be apart; %s must hold %s only", s.user, s.user, s.name)
	return found
}

func (s session) databaseFindings(minimums map[int]int) []FoundProblem {
	var found []FoundProblem
	if detail := serverTooOld(s.serverNumber, s.serverText, minimums); detail != "" {
		found = append(found, FoundProblem{FindingServerVersion, detail})
	}
	if want := SchemaVersion(); s.schemaUnreached || s.schemaVersion != want {
		found = append(found, FoundProblem{FindingSchemaVersion, fmt.Sprintf("the schema has version %d, this binary needs %d: migrate, or run the binary that fits", s.schemaVersion, want)})
	}
	for _, table := range s.unforced {
		found = append(found, FoundProblem{FindingUnforcedRLS, "table " + table + " has org_id without forced row-level security"})
	}
	return found
}

func serverTooOld(number int, text string, minimums map[int]int) string {
	const perMajor = 10000 // server_version_num since version 10
	major, minor := number/perMajor, number%perMajor
	oldest, newest := major, major
	for m := range minimums {
		oldest, newest = min(oldest, m), max(newest, m)
	}
	least, known := minimums[major]
	switch {
	case known && minor < least:
		return fmt.Sprintf("PostgreSQL %s is older than %d.%d, which closes holes in row-level security", text, major, least)
	case !known && major < newest:
		return fmt.Sprintf("PostgreSQL %s is not supported; versions 15 and newer are", text)
	}
	return ""
}

// inspect asks the catalog as the role itself.
func inspect(ctx context.Context, p pool, role, otherRole string) (session, error) {
	s := session{name: role}
	var postmasterStart time.Time
	err := p.inTx(ctx, func(tx pgx.Tx) error {
		var databaseOID uint32
		err := tx.QueryRow(ctx, inspectRole, role, otherRole, roleOwner, schema).Scan(&s.user, &s.super, &s.bypass, &s.owner, &s.member, &s.other,
			&s.serverNumber, &s.serverText, &databaseOID, &postmasterStart)
		if err != nil {
			return err
		}
		s.database = fmt.Sprintf("%d/%s", databaseOID, postmasterStart)
		rows, err := tx.Query(ctx, inspectTables)
		if err != nil {
			return err
		}
		s.unforced, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return s, fmt.Errorf("self-check as %s: %w", role, err)
	}
	// On its own: without schema or grant the statement fails, which is a finding and not an error.
	err = p.inTx(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select coalesce(max(version_id), 0) from "+schema+"."+versionTable+" where is_applied").Scan(&s.schemaVersion)
	})
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		s.schemaUnreached, err = true, nil
	}
	return s, err
}

// inspectRole: pg_has_role is asked only about roles that exist, and is always true for a superuser.
const inspectRole = `
select current_user::text, me.rolsuper, me.rolbypassrls,
	coalesce((select not me.rolsuper and pg_has_role(me.oid, oid, 'member') from pg_roles where rolname = $3), false)
		or exists (select from pg_namespace where nspname = $4 and nspowner = me.oid)
		or exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $4 and c.relowner = me.oid),
	coalesce((select pg_has_role(me.oid, oid, 'usage') from pg_roles where rolname = $1), false),
	coalesce((select pg_has_role(me.oid, oid, 'member') from pg_roles where rolname = $2), false),
	current_setting('server_version_num')::int, current_setting('server_version'),
	(select oid from pg_database where datname = current_database()), pg_postmaster_start_time()
from pg_roles me where me.rolname = current_user`

const inspectTables = `
select n.nspname || '.' || c.relname
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id' and not a.attisdropped
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
	and not (c.relrowsecurity and c.relforcerowsecurity)
order by 1`
