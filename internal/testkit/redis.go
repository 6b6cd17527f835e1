package testkit

import (
	"context"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// Redis returns the address of a private redis-server (unix:///path, as Redis clients parse it), stopped when the test ends.
func Redis(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	server, err := localsvc.StartRedis(ctx, localsvc.RedisConfig{Dir: SocketDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, server.Process) })
	return server.URL()
}

// stop ends a server of a test, and shows its log when the test failed.
func stop(t testing.TB, p *localsvc.Process) {
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("log of %s:\n%s", p.Name(), p.Tail())
	}
}
