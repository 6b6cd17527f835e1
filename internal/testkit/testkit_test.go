package testkit_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/testkit"
)

func TestPostgresIsSharedAndSuperuser(t *testing.T) {
	t.Parallel()
	dsn := testkit.Postgres(t)
	if again := testkit.Postgres(t); again != dsn {
		t.Errorf("two servers: %s and %s", dsn, again)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var super, fsync string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('is_superuser'), current_setting('fsync')").Scan(&super, &fsync); err != nil {
		t.Fatal(err)
	}
	if super != "on" {
		t.Error("not a superuser")
	}
}

func TestPostgresOfTheRun(t *testing.T) {
	t.Setenv(testkit.PostgresVariable, "postgres:///named-by-the-run")
	if got := testkit.Postgres(t); got != "postgres:///named-by-the-run" {
		t.Error(got)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	url := testkit.Redis(t)
	conn, err := net.Dial("unix", strings.TrimPrefix(url, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestEnvoy gives no admin listener, and port 0 for the other: both are found out.
func TestEnvoy(t *testing.T) {
	t.Parallel()
	envoy := testkit.Envoy(t, []byte(`
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
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]}]}
          http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`))
	if envoy.Admin == "" {
		t.Error("no admin address")
	}
	resp, err := http.Get("http://" + envoy.Listener(t, "front"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "hello" {
		t.Errorf("Envoy answered %q", body)
	}
}

func TestSocketDirIsShortAndPrivate(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp/"+strings.Repeat("long", 30))
	var dir string
	t.Run("inner", func(t *testing.T) {
		dir = testkit.SocketDir(t)
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(dir) > 60 || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", dir, info.Mode())
		}
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s outlived its test: %v", dir, err)
	}
}

func TestFreePort(t *testing.T) {
	t.Parallel()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: testkit.FreePort(t)})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
