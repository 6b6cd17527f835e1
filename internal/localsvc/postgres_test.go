package localsvc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
)

// clusterDir is a directory user postgres can enter when the tests run as root.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "agentidp-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func startPostgres(t *testing.T, dir string) *localsvc.Postgres {
	t.Helper()
	p, err := localsvc.StartPostgres(within(t), localsvc.PostgresConfig{Dir: dir, Throwaway: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func query[T any](t *testing.T, p *localsvc.Postgres, database, sql string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.DSN(localsvc.Superuser, database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var v T
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestPostgresIsPrivate(t *testing.T) {
	t.Parallel()
	p := startPostgres(t, clusterDir(t))
	for sql, want := range map[string]string{
		"SHOW listen_addresses":        "",
		"SHOW unix_socket_permissions": "0700",
		"SHOW server_encoding":         "UTF8",
		"SHOW timezone":                "UTC",
		"SELECT upper('é')":            "É",
		"SELECT string_agg(c, '' ORDER BY c) FROM regexp_split_to_table('aBbA', '') c": "ABab",
	} {
		if got := query[string](t, p, "postgres", sql); got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
	info, err := os.Stat(p.SocketDir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("socket directory has mode %v", info.Mode())
	}
}

func TestPostgresKeepsData(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	p := startPostgres(t, dir)
	for range 2 { // the second time it exists
		if err := p.EnsureDatabase(within(t), `odd "name"`); err != nil {
			t.Fatal(err)
		}
	}
	query[string](t, p, `odd "name"`, "SELECT lo_from_bytea(4242, 'still here')::text")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	again := startPostgres(t, dir)
	if got := query[string](t, again, `odd "name"`, "SELECT convert_from(lo_get(4242), 'UTF8')"); got != "still here" {
		t.Error(got)
	}
}

// TestPostgresSurvivor starts a second server on the directory of one that still runs, as after kill -9 of its parent where no death signal exists.
func TestPostgresSurvivor(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	first := startPostgres(t, dir)
	second := startPostgres(t, dir)
	<-first.Exited()
	if got := query[int32](t, second, "postgres", "SELECT 1"); got != 1 {
		t.Error(got)
	}
}

// TestPostgresStaleLock leaves a lock file that names a living process which is no PostgreSQL, as a reused pid does.
func TestPostgresStaleLock(t *testing.T) {
	t.Parallel()
	dir := clusterDir(t)
	if err := startPostgres(t, dir).Stop(); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	bystander := exec.Command("/bin/sleep", "600")
	bystander.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid, NoSetGroups: true}}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = bystander.Process.Kill()
		_ = bystander.Wait()
	}()
	lock := strconv.Itoa(bystander.Process.Pid) + "\n" + data + "\n1700000000\n5432\n" + filepath.Join(dir, "sock") + "\n\n  5432001         0\nready   \n"
	if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte(lock), 0o644); err != nil {
		t.Fatal(err)
	}
	p := startPostgres(t, dir)
	if got := query[int32](t, p, "postgres", "SELECT 1"); got != 1 {
		t.Error(got)
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the bystander was harmed: %v", err)
	}
}

func TestPostgresRefusals(t *testing.T) {
	t.Parallel()
	t.Run("broken configuration", func(t *testing.T) {
		t.Parallel()
		dir := clusterDir(t)
		if err := startPostgres(t, dir).Stop(); err != nil {
			t.Fatal(err)
		}
		conf := filepath.Join(dir, "data", "postgresql.conf")
		if err := os.WriteFile(conf, []byte("no_such_setting = 1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := localsvc.StartPostgres(within(t), localsvc.PostgresConfig{Dir: dir})
		wantError(t, err, "no_such_setting", "postgres.log")
	})
	t.Run("other major version", func(t *testing.T) {
		t.Parallel()
		dir := clusterDir(t)
		if err := startPostgres(t, dir).Stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := localsvc.StartPostgres(within(t), localsvc.PostgresConfig{Dir: dir})
		wantError(t, err, "made by version 9", "remove the data")
	})
	t.Run("socket path too long", func(t *testing.T) {
		t.Parallel()
		_, err := localsvc.StartPostgres(within(t), localsvc.PostgresConfig{Dir: filepath.Join(t.TempDir(), strings.Repeat("d", 100))})
		wantError(t, err, "socket path", "shorter")
	})
	t.Run("missing programs", func(t *testing.T) {
		t.Parallel()
		_, err := localsvc.StartPostgres(within(t), localsvc.PostgresConfig{BinDir: "/nonexistent", Dir: t.TempDir()})
		wantError(t, err, "/nonexistent", "apt-get install postgresql", "make deps")
	})
	t.Run("private folder above, as root", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(clusterDir(t), "state") // MkdirTemp makes its parent 0700
		p, err := localsvc.StartPostgres(within(t), localsvc.PostgresConfig{Dir: dir, Throwaway: true})
		if os.Geteuid() == 0 {
			wantError(t, err, "user postgres", "cannot enter", dir)
			return
		}
		if err != nil { // it runs as us, who can
			t.Fatal(err)
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not mention %q: %v", part, err)
		}
	}
}

func TestThrowawayPostgresLeavesNothing(t *testing.T) {
	t.Parallel()
	p, err := testkit.StartThrowawayPostgres(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.SocketDir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", p.SocketDir, err)
	}
}

// TestPostgresDir runs the cluster of a folder user postgres cannot enter where PostgresDir says.
func TestPostgresDir(t *testing.T) {
	t.Parallel()
	open, private := clusterDir(t), filepath.Join(clusterDir(t), "below", "postgres")
	if err := os.Chmod(open, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(private), 0o711); err != nil {
		t.Fatal(err)
	}
	if got, err := localsvc.PostgresDir(filepath.Join(open, "postgres")); err != nil || got != filepath.Join(open, "postgres") {
		t.Errorf("PostgresDir = %q, %v; want the folder asked for", got, err)
	}
	got, err := localsvc.PostgresDir(private)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if got != private {
			t.Errorf("PostgresDir = %q; it runs as us, who can enter %q", got, private)
		}
		return
	}
	t.Cleanup(func() { os.RemoveAll(got) })
	if again, err := localsvc.PostgresDir(private); err != nil || again != got {
		t.Errorf("PostgresDir = %q, then %q, %v", got, again, err)
	}
	startPostgres(t, got)
}
