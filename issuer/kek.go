package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/kms"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

// KMS is a key management service that keeps the key-encryption key.
type KMS struct {
	Vault *Vault `yaml:"vault"`
}

// Vault is the transit engine of HashiCorp Vault or OpenBao.
type Vault struct {
	Address   string        `yaml:"address"` // https://host:port
	Mount     string        `yaml:"mount"`   // default transit
	Key       string        `yaml:"key"`
	Namespace string        `yaml:"namespace"`
	Token     config.Secret `yaml:"token"` // may use encrypt/<key> and decrypt/<key>; read at the start
	CA        config.Path   `yaml:"ca"`
}

// SetDefaults implements the contract of package config.
func (v *Vault) SetDefaults() { v.Mount = "transit" }

// kek is the key-encryption key of the configuration: the service's where there is one.
func (c *Config) kek() (*seal.KEK, error) {
	var all []seal.Wrapper
	if c.KMS != nil {
		if c.KMS.Vault == nil {
			return nil, errors.New("vault is required")
		}
		v := c.KMS.Vault
		if !v.Token.IsSet() {
			return nil, errors.New("vault.token is required")
		}
		w, err := kms.NewVault(kms.VaultConfig{
			Address: v.Address, Mount: v.Mount, Key: v.Key, Namespace: v.Namespace, Token: v.Token.Reveal, CAFile: string(v.CA),
		})
		if err != nil {
			return nil, fmt.Errorf("vault.%w", err)
		}
		all = append(all, w)
	}
	if c.KMS == nil || c.KEK.IsSet() {
		w, err := seal.ParseFile([]byte(c.KEK.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("is required: %w", err)
		}
		all = append(all, w)
	}
	return seal.NewKEK(all[0], all[1:]...), nil
}

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
