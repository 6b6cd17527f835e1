// Package issuer registers agents in organizations and issues their tokens. It shows a Config, New and Run; the parts are under internal/, and this
// file is where they meet.
package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/lifecycle"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/internal/servertls"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

const (
	drain       = 15 * time.Second // above web.Server's own, so that requests in flight finish
	readyWait   = 2 * time.Second
	metricsName = "agentidp_issuer"
)

// Environment is what a process hands to its issuer.
type Environment struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Now      func() time.Time
	// Listening, when set, is called with the address in use once connections are accepted.
	Listening func(net.Addr)
}

// Issuer is a configured issuer, its database open and its keys loaded.
type Issuer struct {
	cfg             Config
	env             Environment
	store           *postgres.Store
	certificate     *servertls.Certificate
	tracer          *obs.Tracer // nil when off
	rings           *keys.Rings
	handler         *web.Handler
	limiter         *ratelimit.Limiter
	caches          *caches
	keyClients      []*fetch.Client           // of clients and partners
	clientDocuments *clientdocument.Documents // nil when they are not served
	bundles         *spiffe.Bundles           // nil without trust domains
}

// New opens the certificate, the database (which refuses wrong roles and schemas) and the signing keys (made on the first start). It listens to nothing yet.
// Close gives back what New opened.
func New(ctx context.Context, cfg Config, env Environment) (*Issuer, error) {
	certificate, err := servertls.Open(cfg.TLS.files(), env.Now, env.Log)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	for _, m := range certificate.Metrics("issuer") {
		if err := env.Registry.Register(m); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	kek, err := cfg.kek()
	if err != nil {
		return nil, fmt.Errorf("kek: %w", err)
	}
	store, err := postgres.Open(ctx, postgres.Config{
		AppDSN: cfg.Database.App.Reveal(), PlatformDSN: cfg.Database.Platform.Reveal(),
		ConnectionsMax: int32(cfg.Database.ConnectionsMax), Log: env.Log, Now: env.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	i := &Issuer{cfg: cfg, env: env, store: store, certificate: certificate}
	if i.tracer, err = obs.NewTracer(cfg.Tracing, obs.TracerEnv{
		Service: "issuer", Prefix: metricsName, Registerer: env.Registry, Log: env.Log, Now: env.Now,
	}); err != nil {
		i.Close()
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if err = i.assemble(ctx, kek); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// assemble loads the keys and puts the handler together.
func (i *Issuer) assemble(ctx context.Context, kek *seal.KEK) (err error) {
	i.rings, err = keys.NewRings(keys.Config{
		Store: i.store, Sealer: seal.New(kek, i.store.Keysets(audit.Actor{Kind: audit.KindSystem, ID: "issuer"})),
		Schedule: i.cfg.schedule(), Algorithm: i.cfg.SigningKeys.Algorithm, Now: i.env.Now,
	}, i.env.Log)
	if err != nil {
		return err
	}
	if i.limiter, err = ratelimit.NewLimiter(i.cfg.Limits.Redis.Reveal(), i.env.Log, i.env.Now); err != nil {
		return fmt.Errorf("limits.redis: %w", err)
	}
	i.caches = newCaches(i.store, i.env)
	gate := ratelimit.NewGate(i.limiter, i.cfg.Limits.limits(), i.caches, i.env.Registry, i.env.Now)
	trust, err := i.clientTrust()
	if err != nil {
		return err
	}
	if i.clientDocuments, err = i.openClientDocuments(); err != nil {
		return err
	}
	partners, err := i.partners()
	if err != nil {
		return err
	}
	served, err := issuers.NewSet(ctx, issuers.Config{
		Issuer: i.cfg.Issuer, Mode: i.cfg.OrganizationIssuers, Organizations: i.store, Rings: i.rings, Now: i.env.Now,
	})
	if err != nil {
		return err
	}
	i.caches.issuers = served
	i.handler, err = newHandler(opened{
		cfg: i.cfg, env: i.env, store: i.store, issuers: served, rings: i.rings, trust: trust, clientDocuments: i.clientDocuments, partners: partners,
		caches: i.caches, gate: gate, tracer: i.tracer,
	})
	return err
}

// Close gives back what New opened. Spans that are queued are sent first, for at most two seconds.
func (i *Issuer) Close() {
	for _, client := range i.keyClients {
		client.Close()
	}
	if i.clientDocuments != nil {
		i.clientDocuments.Close()
	}
	if i.limiter != nil {
		_ = i.limiter.Close() // nothing is kept in it
	}
	i.tracer.Close()
	i.store.Close()
}

// Run serves until ctx ends, then lets requests in flight finish.
func (i *Issuer) Run(ctx context.Context) error {
	services := []lifecycle.Service{
		{Name: "certificate", Run: i.certificate.Run}, {Name: "signing keys", Run: i.rings.Follow}, {Name: "signing key schedule", Run: i.rings.Schedule},
	}
	services = append(services, lifecycle.Service{Name: "changes", Run: i.caches.follower.Run})
	if i.bundles != nil {
		services = append(services, lifecycle.Service{Name: "SPIFFE bundles", Run: i.bundles.Run})
	}
	if i.cfg.Metrics.Listen != "" {
		metrics := &obs.Operator{Listen: i.cfg.Metrics.Listen, Registry: i.env.Registry, Ready: i.ready(ctx), Pprof: i.cfg.Metrics.Pprof, Log: i.env.Log}
		services = append(services, lifecycle.Service{Name: "metrics", Run: metrics.Run})
	}
	server := &web.Server{
		Listen: i.cfg.Listen, Handler: i.handler, GetCertificate: i.certificate.Get, AskClients: true, Log: i.env.Log, Listening: i.env.Listening,
	}
	services = append(services, lifecycle.Service{Name: "server", Run: server.Run})
	return lifecycle.Run(ctx, drain, services...)
}

// ready asks the database; from the moment the process is told to stop the answer is no, so that nobody sends new work.
func (i *Issuer) ready(ctx context.Context) func() error {
	return func() error {
		if ctx.Err() != nil {
			return errors.New("stopping")
		}
		asking, cancel := context.WithTimeout(ctx, readyWait)
		defer cancel()
		return i.store.Ping(asking)
	}
}

// MissingSQL is the SQL that a superuser has to run before Migrate can go on, one statement a line; "" for any error but that.
func MissingSQL(err error) string {
	missing, ok := errors.AsType[*postgres.MissingRightsError](err)
	if !ok {
		return ""
	}
	return strings.Join(missing.SQL, ";\n") + ";\n"
}

// Migrate brings the database up to date; see postgres.Migrate. When it lacks rights nothing is changed, and MissingSQL says what is to be done.
func Migrate(ctx context.Context, cfg Config, log *slog.Logger) error {
	if !cfg.Database.Owner.IsSet() {
		return errors.New("database.owner is needed to migrate")
	}
	return postgres.Migrate(ctx, cfg.Database.Owner.Reveal(), log)
}
