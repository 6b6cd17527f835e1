package postgres

import (
	"context"
	"log/slog"

	"github.com/agentidp/agentidp/internal/trust"
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
}

// Store implements every store interface of the issuer.
type Store struct{}

var (
	_ orgs.Store   = (*Store)(nil)
	_ agents.Store = (*Store)(nil)
	_ keys.Store   = (*Store)(nil)
	_ audit.Store  = (*Store)(nil)
)

// Open connects, and refuses (naming each finding) to work as superuser, owner or BYPASSRLS role, on a schema that is not the one this
// binary was built for, on a server older than the minimum minor version, or when a table with org_id lacks forced row-level security.
func Open(ctx context.Context, cfg Config) (*Store, error) { panic("contract") }
func (s *Store) Close()                                    { panic("contract") }
func (s *Store) Ping(ctx context.Context) error            { panic("contract") }

// Migrate brings roles (when the connecting role may) and schema up to date. ownerDSN: a role that may SET ROLE agentidp_owner, or a superuser on the first run.
// passwords may be empty (peer/trust authentication).
func Migrate(ctx context.Context, ownerDSN string, log *slog.Logger) error { panic("contract") }

// RevocationList renders what sidecars must refuse: suspended and revoked agents, and watermarks younger than lifetimeMax. The sequence grows with every change.
func (s *Store) RevocationList(ctx context.Context, issuer string) (*trust.RevocationList, error) {
	panic("contract")
}
