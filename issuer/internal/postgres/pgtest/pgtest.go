// Package pgtest gives a test its own PostgreSQL database with the issuer's schema, roles and row-level security: as in production, on the
// real server of internal/testkit. Tests only.
package pgtest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

const (
	// wait is for making a database on a busy machine.
	wait = 2 * time.Minute
	// templateLock serialises the making of template databases between test binaries. Any number that nobody else takes.
	templateLock = 0x61676964
)

// Database is one test's database. It is dropped when the test ends.
type Database struct {
	Name        string
	AppDSN      string // role agentidp_app
	PlatformDSN string // role agentidp_platform
	OwnerDSN    string // a superuser: for Migrate, and for tests that look behind the policies
}

// New makes a database from a template that is migrated once per schema. Tests may run in parallel: nothing but the server is shared.
// The package's TestMain must be testkit.Main.
func New(t testing.TB) *Database {
	t.Helper()
	return from(t, template)
}

// NewEmpty makes a database without schema, for tests of Migrate.
func NewEmpty(t testing.TB) *Database {
	t.Helper()
	return from(t, func(context.Context, *pgx.Conn, string) (string, error) { return "template0", nil })
}

func from(t testing.TB, template func(context.Context, *pgx.Conn, string) (string, error)) *Database {
	t.Helper()
	server := testkit.Postgres(t)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	source, err := template(ctx, conn, server)
	if err != nil {
		t.Fatalf("template database: %v", err)
	}
	random := uuid.New()
	name := "test_" + hex.EncodeToString(random[:8])
	// The default strategy copies through the write-ahead log: 34 ms, where copying files takes 1.5 s.
	if _, err := conn.Exec(ctx, "create database "+name+" template "+source); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(t, server, name) })
	return &Database{
		Name: name, AppDSN: dsn(t, server, "agentidp_app", name), PlatformDSN: dsn(t, server, "agentidp_platform", name), OwnerDSN: dsn(t, server, "", name),
	}
}

func drop(t testing.TB, server, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "drop database "+name+" with (force)"); err != nil {
		t.Error(err)
	}
}

// template returns the name of the migrated template database, making it when it is missing or half made.
func template(ctx context.Context, conn *pgx.Conn, server string) (string, error) {
	name := "agentidp_template_" + postgres.SchemaHash()
	if _, err := conn.Exec(ctx, "select pg_advisory_lock($1)", templateLock); err != nil {
		return "", err
	}
	defer conn.Exec(ctx, "select pg_advisory_unlock($1)", templateLock) //nolint:errcheck // ends with the connection at the latest
	var done bool
	err := conn.QueryRow(ctx, "select datistemplate from pg_database where datname = $1", name).Scan(&done)
	if done || err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return name, err
	}
	if _, err := conn.Exec(ctx, "drop database if exists "+name+" with (force)"); err != nil {
		return "", err
	}
	if _, err := conn.Exec(ctx, "create database "+name+" template template0"); err != nil {
		return "", err
	}
	target, err := withUserAndDatabase(server, "", name)
	if err != nil {
		return "", err
	}
	if err := postgres.Migrate(ctx, target, nil); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "alter database "+name+" with is_template true allow_connections false")
	return name, err
}

// As is the DSN of the same database for another role.
func (d *Database) As(t testing.TB, role string) string { return dsn(t, d.OwnerDSN, role, d.Name) }

// Superuser opens a connection that sees everything, closed when the test ends. Names resolve in the issuer's schema.
func (d *Database) Superuser(t testing.TB) *pgx.Conn {
	t.Helper()
	return d.Connect(t, d.OwnerDSN)
}

// Connect opens a connection of its own, closed when the test ends.
func (d *Database) Connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["search_path"] = "agentidp"
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func dsn(t testing.TB, server, user, database string) string {
	t.Helper()
	s, err := withUserAndDatabase(server, user, database)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withUserAndDatabase changes a URL as testkit makes them; user "" keeps the superuser.
func withUserAndDatabase(server, user, database string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", fmt.Errorf("the test server's DSN must be a postgres:// URL (%v)", err)
	}
	u.Path = "/" + database
	if user == "" {
		return u.String(), nil
	}
	q := u.Query()
	if q.Has("user") {
		q.Set("user", user)
		u.RawQuery = q.Encode()
	} else {
		u.User = url.User(user)
	}
	return u.String(), nil
}
