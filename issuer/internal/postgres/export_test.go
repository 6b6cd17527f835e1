package postgres

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/agentidp/agentidp/internal/agentid"
)

// What the tests of this package may reach.
var (
	AsProblem  = asProblem
	SearchPath = searchPath
)

// Conflicts names the constraints that have an answer of their own.
func Conflicts() []string { return slices.Collect(maps.Keys(conflicts)) }

// IsConflict reports whether a constraint is one of them.
func IsConflict(constraint string) bool { _, ok := conflicts[constraint]; return ok }

// WithTracer makes every connection call t.
func (cfg Config) WithTracer(t pgx.QueryTracer) Config {
	cfg.tracer = t
	return cfg
}

// OpenWithMinimums is Open against other minimum server versions.
func OpenWithMinimums(ctx context.Context, cfg Config, minimums map[int]int) (*Store, error) {
	return open(ctx, cfg, minimums)
}

// ServerTooOld judges a server_version_num.
func ServerTooOld(number int) string { return serverTooOld(number, "", serverMinimums) }

// AppSetting reads app.org_id on a connection of the app pool as the last user left it.
func (s *Store) AppSetting(ctx context.Context) (setting string, agents int, err error) {
	conn, err := s.app.acquire(ctx)
	if err != nil {
		return "", 0, err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, "select coalesce(current_setting('app.org_id', true), ''), (select count(*) from agents)").Scan(&setting, &agents)
	return setting, agents, err
}

// InOrg reports the error of a transaction that does nothing.
func (s *Store) InOrg(ctx context.Context, org agentid.Organization) error {
	return s.inOrg(ctx, org, nil)
}

// MigrateTo stops at a version, as an older binary would have.
func MigrateTo(ctx context.Context, ownerDSN string, version int64) error {
	cfg, err := pgx.ParseConfig(ownerDSN)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["search_path"] = searchPath
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	err = prepare(ctx, conn)
	_ = conn.Close(ctx)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "set role "+roleOwner)
		return err
	}))
	defer db.Close()
	provider, err := newProvider(db, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	_, err = provider.UpTo(ctx, version)
	return err
}

// Setting reads a setting on a connection of a pool.
func (s *Store) Setting(ctx context.Context, platform bool, name string) (value string, err error) {
	p := s.app
	if platform {
		p = s.platform
	}
	conn, err := p.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	err = conn.QueryRow(ctx, "select current_setting($1)", name).Scan(&value)
	return value, err
}

// GroupCommitters is how many groups of tokens are under way at once.
const GroupCommitters = groupCommitters

// TokensWaiting is how many tokens no committer has taken yet.
func (s *Store) TokensWaiting() int { return len(s.tokens.waiting) }

// WithTokensWaiting bounds how many may.
func (cfg Config) WithTokensWaiting(n int) Config {
	cfg.tokensWaiting = n
	return cfg
}
