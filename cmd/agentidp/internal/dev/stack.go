package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/echo"
	"github.com/agentidp/agentidp/cmd/agentidp/internal/issuerclient"
	"github.com/agentidp/agentidp/internal/localca"
	"github.com/agentidp/agentidp/internal/localsvc"
)

const (
	database  = "agentidp"
	startWait = 90 * time.Second // of one part, on a cold and busy machine
	drainWait = 5 * time.Second  // for requests in flight when Envoy stops

	redisUse = "counts of the issuer's limits; may be wiped"
)

// Stack is the running system.
type Stack struct {
	Settings
	Demo Demo
	Echo *echo.Server

	state    *state
	programs programs
	progress *progress
	failed   chan error

	mu    sync.Mutex
	parts []*part // in the order they were started
}

// part is something that was started and has to be stopped.
type part struct {
	name    string
	process *localsvc.Process // nil: it runs in this process
	stop    func() error
	abort   func()
}

// Start brings the system up, or names what is in the way and leaves nothing running. When ctx ends it gives up.
func Start(ctx context.Context, settings Settings) (*Stack, error) {
	if settings.Now == nil {
		settings.Now = time.Now
	}
	if settings.Out == nil {
		settings.Out = io.Discard
	}
	programs, err := findPrograms(settings)
	if err != nil {
		return nil, err
	}
	state, err := openState(settings.Dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{
		Settings: settings, state: state, programs: programs, failed: make(chan error, 1),
		progress: &progress{out: settings.Out, dir: state.dir, shown: settings.Shown, now: settings.Now},
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := checkPorts(s.Ports); err != nil {
		return err
	}
	if err := os.MkdirAll(s.state.path("log"), 0o700); err != nil {
		return err
	}
	for _, part := range []struct {
		name  string
		start func(context.Context, *step) error
	}{
		{"certificates", s.startCertificates},
		{"PostgreSQL", s.startPostgres},
		{"schema", s.migrate},
		{"Redis", s.startRedis},
		{"issuer", s.startIssuer},
		{"demo agent", s.ensureDemo},
		{"extauthz", s.startExtauthz},
		{"demo service", s.startEcho},
		{"Envoy", s.startEnvoy},
	} {
		if err := s.run(ctx, part.name, part.start); err != nil {
			return err
		}
	}
	return s.state.writeJSON(endpointsFile, Endpoints{Issuer: s.IssuerURL(), Envoy: s.EnvoyURL()})
}

func (s *Stack) run(ctx context.Context, name string, start func(context.Context, *step) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startWait, fmt.Errorf("waited %s", startWait))
	defer cancel()
	step := s.progress.begin(name)
	if err := start(ctx, step); err != nil {
		step.failed()
		return err
	}
	return nil
}

// Quiet ends the progress lines: what is started again or stopped from now on is somebody else's to tell.
func (s *Stack) Quiet() { s.progress.out = io.Discard }

// IssuerURL is the issuer's identifier and address.
func (s *Stack) IssuerURL() string { return fmt.Sprintf("https://localhost:%d", s.Ports.Issuer) }

// EnvoyURL is where clients reach the demo service.
func (s *Stack) EnvoyURL() string { return fmt.Sprintf("http://localhost:%d", s.Ports.Envoy) }

// Path names a file of the state directory.
func (s *Stack) Path(elements ...string) string { return s.state.path(elements...) }

// Client speaks to the issuer as its administrator.
func (s *Stack) Client() (*issuerclient.Client, error) {
	token, err := readSecret(s.state.path(adminFile))
	if err != nil {
		return nil, err
	}
	return issuerclient.New(s.IssuerURL(), s.state.path(authorityFile), token)
}

func (s *Stack) startCertificates(_ context.Context, step *step) error {
	if _, err := localca.Ensure(s.state.dir, s.Now(), localca.Loopback()...); err != nil {
		return err
	}
	if err := s.state.makeSecrets(); err != nil {
		return err
	}
	step.done(s.progress.short(s.state.path(authorityFile)))
	return nil
}

func (s *Stack) startPostgres(ctx context.Context, step *step) error {
	dir, err := s.state.postgresDir()
	if err != nil {
		return err
	}
	p, err := localsvc.StartPostgres(ctx, localsvc.PostgresConfig{BinDir: s.programs.postgresBin, Dir: dir, LogFile: s.logFile("postgres")})
	if err != nil {
		return err
	}
	// Backends that lose their postmaster to SIGKILL linger; SIGQUIT ends them with it.
	s.add(&part{name: "PostgreSQL", process: p.Process, stop: p.Stop, abort: func() { p.Signal(syscall.SIGQUIT) }})
	if err := p.EnsureDatabase(ctx, database); err != nil {
		return fmt.Errorf("PostgreSQL: create database: %w", err)
	}
	if err := s.state.writeDSNs(p); err != nil {
		return err
	}
	step.started(s.progress.short(p.SocketDir), p.Process)
	return nil
}

func (s *Stack) startRedis(ctx context.Context, step *step) error {
	if s.programs.redis == "" {
		standIn, err := localsvc.StartRedisStandIn()
		if err != nil {
			return err
		}
		s.add(&part{name: "Redis", stop: standIn.Stop, abort: func() {}})
		step.done(standIn.URL(), "(miniredis, a stand-in: redis-server is not installed; "+redisUse+")")
		return s.state.writeRedisURL(standIn.URL())
	}
	r, err := localsvc.StartRedis(ctx, localsvc.RedisConfig{Program: s.programs.redis, Dir: s.state.path("redis"), LogFile: s.logFile("redis")})
	if err != nil {
		return err
	}
	s.addProcess(r.Process)
	step.started(s.progress.short(r.Socket), r.Process, "("+redisUse+")")
	return s.state.writeRedisURL(r.URL())
}

func (s *Stack) startEcho(_ context.Context, step *step) error {
	server, err := echo.Listen()
	if err != nil {
		return err
	}
	s.Echo = server
	s.add(&part{name: "demo service", abort: func() {}, stop: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), drainWait)
		defer cancel()
		return server.Stop(ctx)
	}})
	step.done("http://"+server.Address, "(answers with the request it saw)")
	return nil
}

func (s *Stack) startEnvoy(ctx context.Context, step *step) error {
	if err := s.state.writeEnvoy(s.Ports.Envoy, s.Echo.Address); err != nil {
		return err
	}
	e, err := localsvc.StartEnvoy(ctx, localsvc.EnvoyConfig{Program: s.programs.envoy, Bootstrap: s.state.path("envoy.yaml"), LogFile: s.logFile("envoy")})
	if err != nil {
		return err
	}
	s.add(&part{name: "Envoy", process: e.Process, abort: e.Abort, stop: func() error {
		ctx, cancel := context.WithTimeout(context.Background(), drainWait)
		defer cancel()
		_ = e.Drain(ctx, drainWait) // an Envoy that cannot be asked is stopped all the same
		return e.Stop()
	}})
	step.started(s.EnvoyURL(), e.Process)
	return nil
}

// daemon starts one of our own programs and waits until it says it is ready and accepts connections.
func (s *Stack) daemon(ctx context.Context, name, program string, metricsPort, port int) (*localsvc.Process, error) {
	p, err := localsvc.Start(localsvc.Command{
		Name: name, Path: program, Args: []string{"-config", s.state.path(name + ".yaml")}, LogFile: s.logFile(name), Env: s.environment(),
	})
	if err != nil {
		return nil, err
	}
	err = p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", loopback(port))
		if err != nil {
			return err
		}
		conn.Close()
		return askReady(ctx, metricsPort)
	})
	if err != nil {
		_ = p.Stop() // the reason it did not get ready says more
		return nil, err
	}
	s.addProcess(p)
	return p, nil
}

// environment is empty but for where a program built with -cover leaves its counters.
func (s *Stack) environment() []string {
	if s.CoverDir == "" {
		return nil
	}
	return []string{"GOCOVERDIR=" + s.CoverDir}
}

func (s *Stack) logFile(name string) string { return s.state.path("log", name+".log") }

func askReady(ctx context.Context, port int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+loopback(port)+"/readyz", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("/readyz answered %s: %s", resp.Status, reason)
	}
	return nil
}
