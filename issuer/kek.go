package issuer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

// rewrapPage is how many organizations are read at once.
const rewrapPage = 100

// Rewrap wraps every data key with the key-encryption key that is used now: after it, what was used before is not needed any more. It may be stopped and started again, and
// issuers may run meanwhile.
func Rewrap(ctx context.Context, cfg Config, log *slog.Logger) error {
	kek, err := cfg.kek()
	if err != nil {
		return err
	}
	store, err := postgres.Open(ctx, postgres.Config{
		AppDSN: cfg.Database.App.Reveal(), PlatformDSN: cfg.Database.Platform.Reveal(), ConnectionsMax: int32(cfg.Database.ConnectionsMax), Log: log, Now: time.Now,
	})
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	defer store.Close()
	sealer := seal.New(kek, store.Keysets(audit.Actor{Kind: audit.KindSystem, ID: "issuer/rewrap"}))
	rewrapped, scopes := 0, 0
	one := func(scope string) error {
		changed, err := sealer.Rewrap(ctx, scope)
		if changed {
			rewrapped++
		}
		scopes++
		return err
	}
	if err := one(""); err != nil {
		return err
	}
	var after agentid.Organization
	for {
		page, err := store.Organizations(ctx, after, rewrapPage)
		if err != nil {
			return err
		}
		for _, o := range page {
			if err := one(o.ID.String()); err != nil {
				return err
			}
			after = o.ID
		}
		if len(page) < rewrapPage {
			log.InfoContext(ctx, "data keys rewrapped", "rewrapped", rewrapped, "looked_at", scopes)
			return nil
		}
	}
}
