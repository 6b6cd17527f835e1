// Package testkit starts the real things tests talk to (PostgreSQL, Redis, Envoy) on free ports, and makes keys and certificates.
// It is imported by tests only. A missing binary fails the test and names the command that installs it; nothing is skipped.
package testkit

import "testing"

// Postgres returns the superuser DSN of this test run's PostgreSQL: the one named by AGENTIDP_TEST_POSTGRES when the run started one for all
// packages (make test), else a private one for this test binary, stopped at its end.
func Postgres(t testing.TB) string { panic("contract") }

// Main runs the tests, stops what they started, and fails when goroutines leaked. Use it in TestMain.
func Main(m *testing.M) { panic("contract") }

// Redis returns the address of a private redis-server, stopped when the test ends.
func Redis(t testing.TB) string { panic("contract") }

// EnvoyProcess is a running Envoy.
type EnvoyProcess struct {
	Admin string // host:port of the admin listener
}

// Envoy starts the real Envoy with a bootstrap document (YAML), waits until it is live, and stops it by pid when the test ends. Its log is shown when the test fails.
func Envoy(t testing.TB, bootstrap []byte) *EnvoyProcess { panic("contract") }

// FreePort is a loopback TCP port nothing listened on a moment ago.
func FreePort(t testing.TB) int { panic("contract") }

// SocketDir is a short-named temporary directory (unix socket paths are limited to 107 bytes), removed when the test ends.
func SocketDir(t testing.TB) string { panic("contract") }
