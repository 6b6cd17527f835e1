package localsvc_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
)

func TestRedis(t *testing.T) {
	t.Parallel()
	dir := testkit.SocketDir(t)
	r, err := localsvc.StartRedis(within(t), localsvc.RedisConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(r.URL(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("CONFIG GET save\r\nCONFIG GET port\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(conn)
	for _, want := range []string{"*2", "$4", "save", "$0", "", "*2", "$4", "port", "$1", "0"} {
		line, err := answer.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("answer %q, %v; want %q", line, err, want)
		}
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := localsvc.StartRedis(within(t), localsvc.RedisConfig{Dir: filepath.Join(dir, strings.Repeat("d", 100))}); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("overlong path: %v", err)
	}
}

const bootstrapWith = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: slow}}]}]}
          http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: slow
    load_assignment: {cluster_name: slow, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`

func startEnvoy(t *testing.T, bootstrap string) (*localsvc.Envoy, error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	return localsvc.StartEnvoy(within(t), localsvc.EnvoyConfig{Program: testkit.EnvoyProgram(t), Bootstrap: file, LogFile: filepath.Join(dir, "envoy.log")})
}

// TestEnvoyDrain holds a request open behind Envoy: Drain waits for it, and not longer.
func TestEnvoyDrain(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	})}
	go func() { _ = server.Serve(backend) }()
	t.Cleanup(func() { server.Close() })

	envoy, err := startEnvoy(t, fmt.Sprintf(bootstrapWith, backend.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := envoy.Stop(); err != nil {
			t.Error(err)
		}
	})
	front, err := envoy.Listener(within(t), "front")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := envoy.Listener(within(t), "back"); err == nil {
		t.Error("a listener that does not exist was found")
	}
	status := make(chan string, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + front)
		if err != nil {
			status <- err.Error()
			return
		}
		resp.Body.Close()
		status <- resp.Status
	}()
	<-arrived
	drained := make(chan error, 1)
	go func() { drained <- envoy.Drain(context.WithoutCancel(t.Context()), patience) }()
	select {
	case err := <-drained:
		t.Fatalf("drained (%v) with a request in flight", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if got := <-status; got != "200 OK" {
		t.Errorf("the request in flight got %s", got)
	}
}

func TestEnvoyBadBootstrap(t *testing.T) {
	t.Parallel()
	_, err := startEnvoy(t, "no_such_field: 1\n")
	wantError(t, err, "envoy.log", "no_such_field")
}
