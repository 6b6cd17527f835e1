package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

func TestMigrateTogetherAndAgain(t *testing.T) {
	t.Parallel()
	pgtest.New(t) // the roles exist
	db := pgtest.NewEmpty(t)
	if got := found(t, postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN}).String(); got != "schema_version" {
		t.Errorf("before: found %q", got)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	super := db.Superuser(t)
	once := dump(t, super)
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(once, dump(t, super)); diff != "" {
		t.Errorf("migrating again changed:\n%s", diff)
	}
	if got := found(t, postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN}); got != nil {
		t.Errorf("after: found %s", got)
	}
	if owners := query[string](t, super, "select distinct pg_get_userbyid(relowner)::text from pg_class c join pg_namespace n on n.oid = relnamespace where nspname = 'agentidp'"); len(owners) != 1 || owners[0] != "agentidp_owner" {
		t.Errorf("owned by %v", owners)
	}
}

// A server nobody prepared, met by roles with fewer and fewer rights: on a cluster of its own, because roles belong to the whole cluster.
func TestMigrateWithFewRights(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	server, err := testkit.StartThrowawayPostgres(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Discard(); err != nil {
			t.Error(err)
		}
	})
	super := connect(t, server.DSN("postgres", "postgres"))
	for _, sql := range []string{
		"create role nobody_much login", "create role dba login createrole", "create role deployer login",
		"create database one owner nobody_much", "create database two owner dba", "create database three",
	} {
		exec(t, super, sql)
	}

	err = postgres.Migrate(t.Context(), server.DSN("nobody_much", "one"), nil)
	missing, ok := errors.AsType[*postgres.MissingRightsError](err)
	if !ok || missing.Role != "nobody_much" {
		t.Fatalf("Migrate without rights = %v", err)
	}
	for _, part := range []string{
		"create role agentidp_owner nologin;", "create role agentidp_app login;", "create role agentidp_platform login;", "create role agentidp_auditor nologin;",
		`grant agentidp_owner to "nobody_much";`, "create schema agentidp authorization agentidp_owner;",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not hold %q:\n%v", part, err)
		}
	}
	if n := query[int64](t, super, "select count(*) from pg_roles where rolname like 'agentidp%'")[0]; n != 0 {
		t.Errorf("%d roles were made all the same", n)
	}

	// A role that may make roles and owns its database prepares everything itself.
	if err := postgres.Migrate(t.Context(), server.DSN("dba", "two"), nil); err != nil {
		t.Errorf("as a role with CREATEROLE: %v", err)
	}

	// What the error tells to run is enough, and only what is still missing is told.
	inOne := connect(t, server.DSN("postgres", "one"))
	err = postgres.Migrate(t.Context(), server.DSN("nobody_much", "one"), nil)
	missing, ok = errors.AsType[*postgres.MissingRightsError](err)
	if !ok || strings.Contains(err.Error(), "create role") {
		t.Fatalf("with the roles there: %v", err)
	}
	for _, sql := range missing.SQL {
		exec(t, inOne, sql)
	}
	if err := postgres.Migrate(t.Context(), server.DSN("nobody_much", "one"), nil); err != nil {
		t.Errorf("after running what the error said: %v", err)
	}

	// A deployer that may become owner, in a database with the schema, needs nothing else.
	exec(t, super, "grant agentidp_owner to deployer")
	exec(t, connect(t, server.DSN("postgres", "three")), "create schema agentidp authorization agentidp_owner")
	if err := postgres.Migrate(t.Context(), server.DSN("deployer", "three"), nil); err != nil {
		t.Errorf("as a deployer: %v", err)
	}
	for _, name := range []string{"one", "two", "three"} {
		if got := found(t, postgres.Config{AppDSN: server.DSN("agentidp_app", name), PlatformDSN: server.DSN("agentidp_platform", name)}); got != nil {
			t.Errorf("database %s: found %s", name, got)
		}
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func TestMigrateSaysWhatFailed(t *testing.T) {
	t.Parallel()
	pgtest.New(t) // the roles exist
	db := pgtest.NewEmpty(t)
	super := db.Superuser(t)
	exec(t, super, "create schema agentidp authorization agentidp_owner")
	exec(t, super, "create table agentidp.signing_keys (id text)") // in the way of the last migration
	err := postgres.Migrate(t.Context(), db.OwnerDSN, nil)
	if err == nil || !strings.Contains(err.Error(), "signing_keys") || !strings.Contains(err.Error(), "version:4") {
		t.Fatalf("Migrate = %v", err)
	}
	if n := query[bool](t, super, "select to_regclass('agentidp.keysets') is null")[0]; !n {
		t.Error("half of the failed migration is there")
	}
	exec(t, super, "drop table agentidp.signing_keys")
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
		t.Errorf("after the repair: %v", err)
	}
	for _, dsn := range []string{"postgres://%", "postgres://127.0.0.1:1/x"} {
		if err := postgres.Migrate(t.Context(), dsn, nil); err == nil {
			t.Errorf("Migrate(%s) succeeded", dsn)
		}
	}
}
