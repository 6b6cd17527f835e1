package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// Node is the Node.js that tests run: what make deps installed, or the one on PATH.
func Node(t testing.TB) string {
	t.Helper()
	if path, ok := ofDeps(t, "node/bin/node"); ok {
		return path
	}
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(&localsvc.MissingError{Program: "node", Looked: ".deps/node, PATH", Install: "make deps"})
	}
	return path
}

// NodeModules is the folder of the npm packages of issuer/testdata/clients.
func NodeModules(t testing.TB) string {
	t.Helper()
	return mustOfDeps(t, "npm/node_modules", "npm packages of issuer/testdata/clients")
}

// Python is a Python with the packages of .ci/python.txt.
func Python(t testing.TB) string {
	t.Helper()
	return mustOfDeps(t, "python/bin/python", "Python with the packages of .ci/python.txt")
}

func mustOfDeps(t testing.TB, name, what string) string {
	t.Helper()
	path, ok := ofDeps(t, name)
	if !ok {
		t.Fatal(&localsvc.MissingError{Program: what, Looked: ".deps", Install: "make deps"})
	}
	return path
}

// ofDeps looks for what make deps made, in .deps of the working directory or of one above it.
func ofDeps(t testing.TB, name string) (string, bool) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, ".deps", name)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}
