// Package testkit starts the real things tests talk to (PostgreSQL, Redis, Envoy) on free ports, and makes keys and certificates.
// It is imported by tests only. A missing binary fails the test and names the command that installs it; nothing is skipped.
//
// Everything it starts is stopped by pid: what belongs to one test when that test ends, what the whole test binary shares in Main.
package testkit

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/internal/localsvc"
)

const (
	startWait    = 60 * time.Second // a cold disk and two busy cores
	socketDirMax = 60               // leaves 47 of 107 bytes for the file name
)

// Main runs the tests, stops what they started, and fails when goroutines leaked. Use it in TestMain.
func Main(m *testing.M) { MainCleanup(m, func() error { return nil }) }

// MainCleanup is Main for a package whose tests share something else: cleanup is called after the last test.
func MainCleanup(m *testing.M, cleanup func() error) {
	status := m.Run()
	if err := errors.Join(cleanup(), stopShared()); err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		status = max(status, 1)
	}
	if status == 0 { // after a failed test a leak is a consequence, not news
		status = leakStatus()
	}
	os.Exit(status)
}

func leakStatus() int {
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() // kept alive on purpose, until told
	if err := goleak.Find(thirdParty()...); err != nil {
		fmt.Fprintln(os.Stderr, "testkit: goroutines still run after the tests; each needs an owner that ends it:", err)
		return 1
	}
	return 0
}

// thirdParty lists the goroutines that libraries start for the life of the process and offer no way to end.
func thirdParty() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"), // started by its init
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	}
}

// FreePort is a loopback TCP port nothing listened on a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	ports, err := localsvc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

// SocketDir is a short-named temporary directory of mode 0700 (unix socket paths are limited to 107 bytes), removed when the test ends.
func SocketDir(t testing.TB) string {
	t.Helper()
	parent := ""
	if len(os.TempDir()) > socketDirMax {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "agentidp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
