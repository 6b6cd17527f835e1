package testkit

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// EnvoyProcess is a running Envoy.
type EnvoyProcess struct {
	Admin  string // host:port of the admin listener
	server *localsvc.Envoy
}

// EnvoyProgram is the Envoy that tests run: $ENVOY, PATH, or what make deps installed.
func EnvoyProgram(t testing.TB) string {
	t.Helper()
	program, err := localsvc.FindEnvoy("", os.Getenv("ENVOY"), ".")
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// Envoy starts the real Envoy with a bootstrap document (YAML), waits until it is live, and stops it by pid when the test ends. Its log is shown when the test fails.
// A bootstrap without an admin listener gets one on a free port.
func Envoy(t testing.TB, bootstrap []byte) *EnvoyProcess {
	t.Helper()
	dir := SocketDir(t)
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, withAdmin(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	server, err := localsvc.StartEnvoy(ctx, localsvc.EnvoyConfig{
		Program: EnvoyProgram(t), Bootstrap: file, LogFile: filepath.Join(dir, "envoy.log"), Args: []string{"--concurrency", "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server.Process) })
	return &EnvoyProcess{Admin: server.Admin, server: server}
}

// Listener is the host:port a listener of the bootstrap is bound to, also when it asked for port 0.
func (e *EnvoyProcess) Listener(t testing.TB, name string) string {
	t.Helper()
	address, err := e.server.Listener(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// hasAdmin finds the key at the top level of a document in block style.
var hasAdmin = regexp.MustCompile(`(?m)^admin:`)

func withAdmin(bootstrap []byte) []byte {
	if hasAdmin.Match(bootstrap) {
		return bootstrap
	}
	return append([]byte("admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"), bootstrap...)
}
