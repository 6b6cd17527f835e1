package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// role makes a role for one test and returns its name. Roles belong to the whole server, so it goes when the test ends.
func role(t *testing.T, db *pgtest.Database, options string) string {
	t.Helper()
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	super := db.Superuser(t)
	exec(t, super, "create role "+name+" login "+options)
	t.Cleanup(func() {
		conn := db.Superuser(t)
		exec(t, conn, "reassign owned by "+name+" to agentidp_owner")
		exec(t, conn, "drop owned by "+name)
		exec(t, conn, "drop role "+name)
	})
	return name
}

func (f findings) String() string { return strings.Join(f, " ") }

type findings []string

func found(t *testing.T, cfg postgres.Config) findings {
	t.Helper()
	s, err := postgres.Open(t.Context(), cfg)
	if err == nil {
		s.Close()
		return nil
	}
	e, ok := errors.AsType[*postgres.SelfCheckError](err)
	if !ok {
		t.Fatalf("Open = %v, want findings", err)
	}
	var names findings
	for _, f := range e.Findings {
		if !strings.Contains(err.Error(), string(f.Finding)+": "+f.Detail) {
			t.Errorf("%v does not say %s: %s", err, f.Finding, f.Detail)
		}
		names = append(names, string(f.Finding))
	}
	return names
}

func TestSelfCheckOfRoles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		app, platform func(*testing.T, *pgtest.Database) string // DSNs; nil: the right one
		want          string
	}{
		"as it should be": {nil, nil, ""},
		"members of the roles": {
			func(t *testing.T, db *pgtest.Database) string { return db.As(t, role(t, db, "in role agentidp_app")) },
			func(t *testing.T, db *pgtest.Database) string {
				return db.As(t, role(t, db, "in role agentidp_platform"))
			}, "",
		},
		"app is superuser":      {func(_ *testing.T, db *pgtest.Database) string { return db.OwnerDSN }, nil, "superuser bypass_rls"},
		"platform is superuser": {nil, func(_ *testing.T, db *pgtest.Database) string { return db.OwnerDSN }, "superuser bypass_rls"},
		"app bypasses": {func(t *testing.T, db *pgtest.Database) string {
			return db.As(t, role(t, db, "bypassrls in role agentidp_app"))
		}, nil, "bypass_rls"},
		"platform bypasses": {nil, func(t *testing.T, db *pgtest.Database) string {
			return db.As(t, role(t, db, "bypassrls in role agentidp_platform"))
		}, "bypass_rls"},
		"app may become owner": {func(t *testing.T, db *pgtest.Database) string {
			return db.As(t, role(t, db, "in role agentidp_app, agentidp_owner"))
		}, nil, "owner"},
		"app owns a table": {func(t *testing.T, db *pgtest.Database) string {
			r := role(t, db, "in role agentidp_app")
			exec(t, db.Superuser(t), "alter table agents owner to "+r)
			return db.As(t, r)
		}, nil, "owner"},
		"app owns the schema": {func(t *testing.T, db *pgtest.Database) string {
			r := role(t, db, "in role agentidp_app")
			exec(t, db.Superuser(t), "alter schema agentidp owner to "+r)
			return db.As(t, r)
		}, nil, "owner"},
		"a stranger": {func(t *testing.T, db *pgtest.Database) string { return db.As(t, role(t, db, "")) }, nil, "role schema_version"},
		"both roles": {func(t *testing.T, db *pgtest.Database) string {
			return db.As(t, role(t, db, "in role agentidp_app, agentidp_platform"))
		}, nil, "role"},
		"DSNs exchanged": {func(_ *testing.T, db *pgtest.Database) string { return db.PlatformDSN }, func(_ *testing.T, db *pgtest.Database) string { return db.AppDSN }, "role role role role"},
		"two databases":  {nil, func(t *testing.T, _ *pgtest.Database) string { return pgtest.New(t).PlatformDSN }, "different_databases"},
		"app twice":      {nil, func(_ *testing.T, db *pgtest.Database) string { return db.AppDSN }, "role role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			cfg := postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN}
			if c.app != nil {
				cfg.AppDSN = c.app(t, db)
			}
			if c.platform != nil {
				cfg.PlatformDSN = c.platform(t, db)
			}
			if got := found(t, cfg).String(); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestSelfCheckOfTheSchema(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"not forced":           {"alter table agents no force row level security", "unforced_rls"},
		"not enabled":          {"alter table audit_logs disable row level security", "unforced_rls"},
		"a table without":      {"create table agentidp.notes (org_id uuid)", "unforced_rls"},
		"in another schema":    {"create table public.notes (org_id uuid)", "unforced_rls"},
		"two tables":           {"alter table agents no force row level security; alter table credentials no force row level security", "unforced_rls unforced_rls"},
		"a table of no tenant": {"create table agentidp.notes (id uuid)", ""},
		"older schema":         {"delete from schema_version where version_id = (select max(version_id) from schema_version)", "schema_version"},
		"newer schema":         {"insert into schema_version (version_id, is_applied) values (99, true)", "schema_version"},
		"no schema":            {"drop schema agentidp cascade", "schema_version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t)
			super := db.Superuser(t)
			for _, sql := range strings.Split(c.sql, "; ") {
				exec(t, super, sql)
			}
			if got := found(t, postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN}).String(); got != c.want {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// The server in use is the real one; what moves is the line below which it is refused.
func TestSelfCheckOfTheServer(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	number := query[int32](t, db.Superuser(t), "select current_setting('server_version_num')::int")[0]
	major, minor := int(number)/10000, int(number)%10000
	for name, c := range map[string]struct {
		minimums map[int]int
		ok       bool
	}{
		"exactly the minimum":  {map[int]int{major: minor}, true},
		"one below":            {map[int]int{major: minor + 1}, false},
		"newer than any known": {map[int]int{major - 1: 0}, true},
		"older than any known": {map[int]int{major + 1: 0}, false},
	} {
		s, err := postgres.OpenWithMinimums(t.Context(), postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN}, c.minimums)
		if err == nil {
			s.Close()
		}
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), string(postgres.FindingServerVersion)+": PostgreSQL "+fmt.Sprint(major)) {
			t.Errorf("%s: %v, want ok %v", name, err, c.ok)
		}
	}
}

func TestServerMinimums(t *testing.T) {
	t.Parallel()
	for number, ok := range map[int]bool{
		130022: false, 140019: false, 150013: false, 150014: true, 150018: true, 160009: false, 160010: true, 170005: false, 170006: true, 180000: true, 190000: true,
	} {
		if detail := postgres.ServerTooOld(number); (detail == "") != ok {
			t.Errorf("%d: %q, want ok %v", number, detail, ok)
		}
	}
}
