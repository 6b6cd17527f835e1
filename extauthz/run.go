package extauthz

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/internal/lifecycle"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/servertls"
)

const (
	stopMax  = drainMax + time.Second // for any part, beside drainDelay
	flushMax = 2 * time.Second        // for the decision log at the end
)

// Config is the file of extauthz.
type Config = settings.Config

// Process is what the daemon has from outside.
type Process struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Now      func() time.Time
	Stdout   io.Writer
	// Listening, when set, is called with each address once it accepts connections: the configured ones by their text, and "metrics".
	Listening func(name string, addr net.Addr)
}

// Run serves until ctx ends, then lingers for cfg.DrainDelay and drains for at most five seconds. What the configuration names on disk is loaded before any socket is
// opened: a process that cannot decide anything does not accept questions. cfg must be valid.
func Run(ctx context.Context, cfg *Config, p Process) error {
	store := newStore(cfg)
	env := &feed.Env{Store: store, Log: p.Log, Now: p.Now, Metrics: feed.NewMetrics(p.Registry)}
	src, err := newSources(cfg, env)
	if err != nil {
		return err
	}
	defer src.close()
	defer func() {
		if inForce := store.Load().Policy; inForce != nil {
			inForce.Close()
		}
	}()
	for _, f := range src.feeds {
		if err := f.Load(ctx); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	decisions, closeDecisions, err := openDecisionLog(cfg.DecisionLog, p)
	if err != nil {
		return fmt.Errorf("decisionLog: %w", err)
	}
	defer closeDecisions()
	watch, err := openObservers(ctx, cfg, env, decisions, src.organizations, p.Registry)
	if err != nil {
		return err
	}
	defer watch.close()
	view, err := cfg.Policy.View()
	if err != nil {
		return err
	}
	server, err := New(Options{
		Store: store, Identity: cfg.Identity, Public: cfg.Public, CORS: cfg.CORS, Health: cfg.Health, Hints: src.hints, Possession: cfg.Possession(), Now: p.Now, Log: p.Log, Registerer: p.Registry,
		DecisionLog: decisions, DecisionPath: cfg.Policy.DecisionPath(), View: view, DryRun: cfg.Policy.DryRun,
		CacheBytes: int64(cfg.TokenCache.Bytes), DecisionCache: cfg.DecisionCache, Limits: cfg.Limits, Resource: cfg.PublishedResource(),
		Explain: watch.explain, Shadow: watch.shadow, OrganizationShadows: watch.organizationShadows, Tracer: watch.tracer,
		Organizations: src.organizations, OrganizationPath: cfg.Policy.OrganizationPath(), OrganizationHeaders: cfg.Policy.OrganizationHeaders(),
	})
	if err != nil {
		return err
	}
	defer server.Close()
	env.UsePolicy = server.UsePolicy // from here on: New saw the one that is loaded
	env.UseRevocations = server.UseRevocations
	certificate, err := openTLS(cfg.TLS, p)
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	front, err := openFront(ctx, cfg, p, server, certificate, store.Ready)
	if err != nil {
		return err
	}
	if cfg.Policy.DryRun {
		p.Log.WarnContext(ctx, "DRY RUN: requests the policy denies are allowed; policy.dryRun is set", "metric", "agentidp_extauthz_dry_run")
	}

	// Stopped from the last to the first: no new checks, then the rest of what they use.
	var services []lifecycle.Service
	for _, f := range append(src.feeds, watch.feeds...) {
		services = append(services, lifecycle.Service{Name: f.Name(), Run: f.Run})
	}
	if cfg.Metrics != nil {
		metrics := &obs.Operator{
			Listen: cfg.Metrics.Listen, Registry: p.Registry, Ready: front.ready, Pprof: cfg.Metrics.Pprof, Log: p.Log, More: watch.routes(),
			Patient: cfg.SocketTakeover, // the process before has the port until it ends
		}
		metrics.Listening = func(a net.Addr) { p.listening("metrics", a) }
		services = append(services, lifecycle.Service{Name: "metrics", Run: metrics.Run})
	}
	if certificate != nil {
		services = append(services, lifecycle.Service{Name: "tls", Run: certificate.Run})
	}
	services = append(services, lifecycle.Service{Name: "grpc", Run: front.run})
	return lifecycle.Run(ctx, cfg.DrainDelay.Duration+stopMax, services...)
}

// openFront opens the listeners, unless there is a process to take over from: that waits until everything is loaded.
func openFront(ctx context.Context, cfg *Config, p Process, server *Server, certificate *servertls.Certificate, loaded func() error) (*front, error) {
	f := &front{
		loaded: loaded, process: p, clientsKnown: cfg.TLS != nil && cfg.TLS.ClientCA != "",
		open:   func() ([]namedListener, error) { return openListeners(cfg, certificate) },
		linger: func() { <-time.After(cfg.DrainDelay.Duration) },
	}
	f.server = NewGRPCServer(server, f.ready)
	if succeeds(cfg) {
		return f, nil
	}
	var err error
	if f.listeners, err = f.open(); err != nil {
		f.server.Stop()
		return nil, err
	}
	return f, nil
}

func (p *Process) listening(name string, addr net.Addr) {
	if p.Listening != nil {
		p.Listening(name, addr)
	}
}
