package extauthz_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
)

const (
	loadClients = 4
	loadEnough  = 50 // answers between two events of a test: each client has had several
)

// load asks without a pause, from several clients, until it is stopped.
type load struct {
	answered atomic.Int64
	stopping atomic.Bool
	clients  sync.WaitGroup
	mu       sync.Mutex
	failures []string
}

// startLoad lets clients call ask, which returns what is wrong with an answer.
func startLoad(t *testing.T, ask func(client int) string) *load {
	t.Helper()
	l := &load{}
	for n := range loadClients {
		l.clients.Go(func() {
			for !l.stopping.Load() {
				wrong := ask(n)
				l.answered.Add(1)
				if wrong != "" {
					l.mu.Lock()
					l.failures = append(l.failures, wrong)
					l.mu.Unlock()
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.stopping.Store(true)
	l.clients.Wait()
}

// flow returns when enough requests were answered from now on.
func (l *load) flow(t *testing.T) {
	t.Helper()
	goal := l.answered.Load() + loadEnough
	awaitThat(t, "requests are answered", func() bool { return l.answered.Load() >= goal })
}

func (l *load) wantNoFailure(t *testing.T) {
	t.Helper()
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(l.failures), l.answered.Load(), l.failures[0])
	}
	t.Logf("%d requests answered", l.answered.Load())
}

// loadThroughEnvoy sends requests with a good token: none must get anything but 200.
func (e *edge) loadThroughEnvoy(t *testing.T) *load {
	t.Helper()
	bearer := e.bearer(t)
	return startLoad(t, func(int) string {
		if a := e.get(t, "/orders/1", bearer); a.Status != 200 {
			return fmt.Sprintf("status %d: %s", a.Status, a.Body)
		}
		return ""
	})
}

// loadDirectly does the same without Envoy: each client has a connection of its own, which gRPC replaces when it is told to go.
func (e *edge) loadDirectly(t *testing.T) *load {
	t.Helper()
	var clients [loadClients]authv3.AuthorizationClient
	for i := range clients {
		clients[i] = authv3.NewAuthorizationClient(dial(t, "unix://"+e.socket))
	}
	check := question("Bearer " + e.token(t))
	return startLoad(t, func(client int) string {
		answer, err := clients[client].Check(context.Background(), check)
		if err != nil {
			return err.Error()
		}
		if answer.GetOkResponse() == nil {
			return answer.String()
		}
		return ""
	})
}

// startSuccessor runs one more program with the same configuration and returns when it listens.
func (e *edge) startSuccessor(t *testing.T) *localsvc.Process {
	t.Helper()
	p, err := localsvc.Start(localsvc.Command{
		Name: "extauthz", Path: extauthzBinary(t), Args: []string{"-config", filepath.Join(e.dir, "extauthz.yaml")},
		Env: coverageEnv(), LogFile: filepath.Join(testkit.SocketDir(t), "extauthz.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	awaitThat(t, "the successor listens", func() bool { return strings.Contains(logOf(t, p), `"listener":"grpc"`) || p.Err() != nil })
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

// A new program takes the socket over while requests flow, and the old one is told to end, five times: nobody notices.
func TestUpgradeLosesNoRequest(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*edge, *testing.T) *load{
		"through Envoy": func(e *edge, t *testing.T) *load { e.startEnvoy(t); return e.loadThroughEnvoy(t) },
		"directly":      (*edge).loadDirectly,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, "socketTakeover: true\nmetrics: {listen: \"127.0.0.1:"+fmt.Sprint(testkit.FreePort(t))+"\"}\n")
			running := e.startSuccessor(t)
			requests := start(e, t)
			for range 5 {
				requests.flow(t)
				next := e.startSuccessor(t)
				requests.flow(t)
				if err := running.Stop(); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(logOf(t, running), `"msg":"stopped"`) {
					t.Errorf("no orderly end: %s", logOf(t, running))
				}
				running = next
			}
			requests.flow(t)
			awaitThat(t, "the last one has the metrics port", func() bool { return strings.Contains(logOf(t, running), `"listener":"metrics"`) })
			requests.wantNoFailure(t)
			if err := running.Stop(); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(filepath.Dir(e.socket)); err != nil || strings.Contains(fmt.Sprint(left), ".sock") || strings.Contains(fmt.Sprint(left), ".new-") {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A program that cannot decide does not displace one that can.
func TestTakeoverWaitsUntilEverythingIsLoaded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "socketTakeover: true\n")
	stop := e.run(t, nil)
	requests := e.loadDirectly(t)
	e.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
socketTakeover: true
stateDir: state
policy: {dir: policies}
issuers:
  - {issuer: %s, audiences: [%q], jwks: {url: "https://127.0.0.1:1/keys"}}
`, e.socket, edgeIssuer, edgeAudience))
	p, err := localsvc.Start(localsvc.Command{
		Name: "extauthz", Path: extauthzBinary(t), Args: []string{"-config", filepath.Join(e.dir, "extauthz.yaml")},
		Env: coverageEnv(), LogFile: filepath.Join(e.dir, "successor.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	awaitThat(t, "the successor waits", func() bool { return strings.Contains(logOf(t, p), "taken over once everything is loaded") })
	requests.flow(t)
	if strings.Contains(logOf(t, p), `"listener":"grpc"`) {
		t.Error("a process without keys listens")
	}
	if err := p.Stop(); err != nil { // while it waits: an orderly end
		t.Error(err)
	}
	requests.flow(t)
	requests.wantNoFailure(t)
	if _, err := os.Stat(e.socket); err != nil {
		t.Errorf("the socket of the one that serves: %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

// Two processes on two ports, behind a cluster whose hosts Envoy asks for their health: the one that ends says so first, and goes on answering
// until nobody asks it any more.
func TestDrainDelayLosesNoRequestOnPorts(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "drainDelay: 5s\n")
	text, err := os.ReadFile(filepath.Join(e.dir, "extauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	both := strings.Replace(string(text), "listen: unix://"+e.socket, "listen: [\"tcp://127.0.0.1:0\", \"unix://"+e.socket+"\"]", 1)
	var hosts []string
	var stops []func() error
	for n := range 2 {
		e.write(t, "extauthz.yaml", strings.Replace(both, e.socket, e.socket+fmt.Sprint(n), 1))
		bound := make(chan string, 1)
		stops = append(stops, e.run(t, func(name string, addr net.Addr) {
			if strings.HasPrefix(name, "tcp") {
				bound <- addr.String()
			}
		}))
		hosts = append(hosts, <-bound)
	}
	e.startEnvoyBefore(t, "", hosts...)
	e.await(t, 200, "/orders/1", e.bearer(t))
	requests := e.loadThroughEnvoy(t)
	requests.flow(t)
	if err := stops[0](); err != nil {
		t.Errorf("Run = %v", err)
	}
	requests.flow(t)
	requests.wantNoFailure(t)
	if err := stops[1](); err != nil {
		t.Errorf("Run = %v", err)
	}
}
