package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var embedded embed.FS

// versionTable is goose's, in our schema. The self-check reads it.
const versionTable = "schema_version"

// The wait for another instance that is migrating: one try a second, for five minutes.
const (
	migrationLockTrySeconds = 1
	migrationLockTries      = 300
)

func migrationFiles() fs.FS {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the directory is embedded
	}
	return files
}

// SchemaVersion is the version this binary works with: the number of the newest migration.
func SchemaVersion() int64 {
	var newest int64
	for _, name := range migrationNames() {
		n, err := strconv.ParseInt(name[:strings.IndexByte(name, '_')], 10, 64)
		if err != nil {
			panic(err) // the names are embedded
		}
		newest = max(newest, n)
	}
	return newest
}

// SchemaHash changes with any byte of any migration; tests name their template database by it.
func SchemaHash() string {
	h := sha256.New()
	for _, name := range migrationNames() {
		b, err := fs.ReadFile(migrationFiles(), name)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func migrationNames() []string {
	names, err := fs.Glob(migrationFiles(), "*.sql")
	if err != nil {
		panic(err)
	}
	return names
}

// Migrate brings roles (when the connecting role may) and schema up to date. ownerDSN: a role that may SET ROLE agentidp_owner, or a superuser on the first run.
// Roles are made without a password: peer, certificate or trust authentication, or the operator sets one with ALTER ROLE.
//
// Instances that start together migrate one after the other; each migration is one transaction. When something needs more rights than the connecting role
// has, nothing is changed and the error holds the SQL for someone who has them.
func Migrate(ctx context.Context, ownerDSN string, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg, err := pgx.ParseConfig(ownerDSN)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["application_name"] = "agentidp-migrate"
	cfg.RuntimeParams["search_path"] = searchPath
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	err = prepare(ctx, conn)
	_ = conn.Close(ctx) // its work is committed or its error says more
	if err != nil {
		return err
	}
	return migrate(ctx, cfg, log)
}

func migrate(ctx context.Context, cfg *pgx.ConnConfig, log *slog.Logger) error {
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "set role "+roleOwner) // what is created belongs to the owner, whoever connects
		return err
	}))
	defer db.Close()
	provider, err := newProvider(db, log)
	if err != nil {
		return err
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate the schema: %w", err)
	}
	for _, r := range results {
		log.InfoContext(ctx, "migration applied", "name", r.Source.Path, "duration", r.Duration)
	}
	return nil
}

func newProvider(db *sql.DB, log *slog.Logger) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(migrationLockTrySeconds, migrationLockTries))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, migrationFiles(),
		goose.WithSessionLocker(locker), goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithSlog(log))
}
