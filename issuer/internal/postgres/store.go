package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
)

// Config names the two roles the issuer works with; both DSNs reach the same database.
type Config struct {
	AppDSN         string // role agentidp_app: inside one organization, under row-level security
	PlatformDSN    string // role agentidp_platform: look-ups across organizations, signing keys
	ConnectionsMax int32  // per pool, default 10
	Log            *slog.Logger
	Now            func() time.Time // clock of audit rows; default time.Now
	PoolWaitMax    time.Duration    // for a free connection, before Unavailable; default 250 ms

	tracer        pgx.QueryTracer // of tests: counts statements, and makes them fail
	tokensWaiting int             // of tests: instead of recordsWaitingMax
}

const (
	connectionsMaxDefault = 10
	// poolWaitMaxDefault is short on purpose: when every connection is busy for this long, more waiting requests only make it worse.
	poolWaitMaxDefault = 250 * time.Millisecond
)

func (cfg *Config) setDefaults() {
	if cfg.ConnectionsMax <= 0 {
		cfg.ConnectionsMax = connectionsMaxDefault
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.PoolWaitMax <= 0 {
		cfg.PoolWaitMax = poolWaitMaxDefault
	}
	if cfg.tokensWaiting <= 0 {
		cfg.tokensWaiting = recordsWaitingMax
	}
}

// Store implements every store interface of the issuer. It is safe for concurrent use.
type Store struct {
	app      pool // never used without an organization: see inOrg and orgOnce
	platform pool
	tokens   *committer
	now      func() time.Time
}

var (
	_ orgs.Store   = (*Store)(nil)
	_ agents.Store = (*Store)(nil)
	_ keys.Store   = (*Store)(nil)
	_ audit.Store  = (*Store)(nil)
)

// Open connects, and refuses (naming each finding) to work as superuser, owner or BYPASSRLS role, on a schema that is not the one this
// binary was built for, on a server older than the minimum minor version, or when a table with org_id lacks forced row-level security.
func Open(ctx context.Context, cfg Config) (*Store, error) { return open(ctx, cfg, serverMinimums) }

func open(ctx context.Context, cfg Config, minimums map[int]int) (*Store, error) {
	cfg.setDefaults()
	app, err := newPool(ctx, cfg.AppDSN, &cfg)
	if err != nil {
		return nil, fmt.Errorf("app role: %w", err)
	}
	platform, err := newPool(ctx, cfg.PlatformDSN, &cfg)
	if err != nil {
		app.Close()
		return nil, fmt.Errorf("platform role: %w", err)
	}
	// Nobody waits for the first connection yet, which has to be made: it may take as long as one takes.
	patience := max(cfg.PoolWaitMax, connectTimeout)
	s := &Store{app: pool{app, patience}, platform: pool{platform, patience}, now: cfg.Now}
	if err := s.selfCheck(ctx, minimums); err != nil {
		s.Close()
		return nil, err
	}
	s.app.waitMax, s.platform.waitMax = cfg.PoolWaitMax, cfg.PoolWaitMax
	s.tokens = newCommitter(ctx, s.app, cfg.tokensWaiting)
	return s, nil
}

// Close commits the tokens that wait for their record, waits for connections in use to be given back, then closes them.
func (s *Store) Close() {
	if s.tokens != nil {
		s.tokens.close()
	}
	s.app.Close()
	s.platform.Close()
}

// Ping asks both pools for an answer: ready means that tokens can be issued.
func (s *Store) Ping(ctx context.Context) error {
	for _, p := range []pool{s.app, s.platform} {
		if err := p.ping(ctx); err != nil {
			return asProblem(err, "")
		}
	}
	return nil
}

// clock is the time at the resolution of PostgreSQL.
func (s *Store) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }
