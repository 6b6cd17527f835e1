package extauthz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/internal/lifecycle"
	"github.com/agentidp/agentidp/internal/obs"
)

const (
	drainMax  = 5 * time.Second        // for checks in flight when the end is asked for
	stopMax   = drainMax + time.Second // for any part
	readyPoll = 100 * time.Millisecond // how late the health service may learn that everything is loaded
	flushMax  = 2 * time.Second        // for the decision log at the end
)

// Process is what the daemon has from outside.
type Process struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	Now      func() time.Time
	Stdout   io.Writer
	// Listening, when set, is called with each address once it accepts connections: the configured ones by their text, and "metrics".
	Listening func(name string, addr net.Addr)
}

// Run serves until ctx ends, then drains for at most five seconds. What the configuration names on disk is loaded before any socket is
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
	watch, err := openObservers(ctx, cfg, env, decisions, p.Registry)
	if err != nil {
		return err
	}
	defer watch.close()
	view, err := cfg.Policy.view()
	if err != nil {
		return err
	}
	server, err := New(Options{
		Store: store, Identity: cfg.Identity, Public: cfg.Public, Hints: src.hints, Possession: cfg.DPoP.possession(), Now: p.Now, Log: p.Log, Registerer: p.Registry,
		DecisionLog: decisions, DecisionPath: cfg.Policy.decisionPath(), View: view, DryRun: cfg.Policy.DryRun,
		DecisionCache: cfg.DecisionCache, Resource: cfg.resource(),
		Explain: watch.explain, Shadow: watch.shadow,
	})
	if err != nil {
		return err
	}
	defer server.Close()
	env.UsePolicy = server.UsePolicy // from here on: New saw the one that is loaded
	listeners, err := openListeners(cfg)
	if err != nil {
		return err
	}
	if cfg.Policy.DryRun {
		p.Log.WarnContext(ctx, "DRY RUN: requests the policy denies are allowed; policy.dryRun is set", "metric", "agentidp_extauthz_dry_run")
	}
	health := health.NewServer()
	grpcServer := NewGRPCServer(server)
	healthv1.RegisterHealthServer(grpcServer, health)

	// Stopped from the last to the first: no new checks, then the rest of what they use.
	var services []lifecycle.Service
	for _, f := range append(src.feeds, watch.feeds...) {
		services = append(services, lifecycle.Service{Name: f.Name(), Run: f.Run})
	}
	if cfg.Metrics != nil {
		debug := &obs.Debug{Listen: cfg.Metrics.Listen, Registry: p.Registry, Ready: store.Ready, Pprof: cfg.Metrics.Pprof, Log: p.Log, More: watch.routes()}
		debug.Listening = func(a net.Addr) { p.listening("metrics", a) }
		services = append(services, lifecycle.Service{Name: "metrics", Run: debug.Run})
	}
	services = append(services,
		lifecycle.Service{Name: "health", Run: func(ctx context.Context) error { return watchHealth(ctx, health, store.Ready) }},
		lifecycle.Service{Name: "grpc", Run: func(ctx context.Context) error { return serve(ctx, grpcServer, health, listeners, p) }},
	)
	return lifecycle.Run(ctx, stopMax, services...)
}

func (p *Process) listening(name string, addr net.Addr) {
	if p.Listening != nil {
		p.Listening(name, addr)
	}
}

// namedListener remembers how the configuration wrote an address.
type namedListener struct {
	net.Listener
	name string
}

// openListeners opens all addresses or none.
func openListeners(cfg *Config) ([]namedListener, error) {
	var opened []namedListener
	for i, name := range cfg.Listen {
		a, err := parseAddress(name)
		if err == nil {
			var l net.Listener
			if l, err = a.listen(cfg.SocketMode); err == nil {
				opened = append(opened, namedListener{l, name})
				continue
			}
		}
		for _, l := range opened {
			l.Close()
		}
		return nil, fmt.Errorf("listen[%d]: %w", i, err)
	}
	return opened, nil
}

// serve answers on all listeners until ctx ends, lets the checks in flight finish, and closes what is left after drainMax. A ctx that ends
// before a listener was served is an orderly end, too: gRPC then says that the server was stopped.
func serve(ctx context.Context, server *grpc.Server, health *health.Server, listeners []namedListener, p Process) error {
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }()
		p.Log.InfoContext(ctx, "listening", "listener", "grpc", "address", l.name, "bound", l.Addr().String())
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			p.Log.WarnContext(ctx, "whoever reaches this address can ask for decisions: keep it inside the pod", "address", l.name)
		}
		p.listening(l.name, l.Addr())
	}
	running := len(listeners)
	var failure error
	note := func(err error) {
		running--
		if failure == nil && !(ctx.Err() != nil && errors.Is(err, grpc.ErrServerStopped)) {
			failure = err
		}
	}
	select {
	case <-ctx.Done():
	case err := <-ended:
		note(err)
	}
	health.Shutdown() // health checks learn before connections end
	force := time.AfterFunc(drainMax, server.Stop)
	server.GracefulStop()
	force.Stop()
	for running > 0 {
		note(<-ended)
	}
	return failure
}

// watchHealth tells gRPC health checks what /readyz tells HTTP ones.
func watchHealth(ctx context.Context, h *health.Server, ready func() error) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		status := healthv1.HealthCheckResponse_SERVING
		if ready() != nil {
			status = healthv1.HealthCheckResponse_NOT_SERVING
		}
		h.SetServingStatus("", status)
		h.SetServingStatus(serviceName, status)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
