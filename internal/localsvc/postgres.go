package localsvc

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Superuser is the role initdb makes. It authenticates by being able to reach the socket, as every role does here.
const Superuser = "postgres"

const (
	socketName = ".s.PGSQL.5432" // PostgreSQL derives it from its default port, also when it listens on no port
	// socketPathBytesMax is what fits sockaddr_un.sun_path with its closing zero on Linux (108) and on the BSDs (104).
	socketPathBytesMax = 103
)

// PostgresConfig describes a private PostgreSQL.
type PostgresConfig struct {
	BinDir  string // explicit directory of initdb and postgres; empty: FindPostgres looks
	Dir     string // holds data/ and sock/; made when missing. The caller makes sure that nobody else uses it now
	LogFile string // empty: postgres.log in Dir

	// Throwaway trades durability for speed (fsync off): data that need not outlive this process.
	Throwaway      bool
	ConnectionsMax int // default 100
}

// Postgres is a running private cluster: no TCP, a unix socket in a 0700 directory.
type Postgres struct {
	*Process
	SocketDir string
	bin       string
	env       []string
}

// StartPostgres makes the cluster when there is none yet, and starts it. A server that survived a killed predecessor in the same directory is stopped
// first, a lock file whose process is gone or someone else's is removed. When we are root it runs as user postgres, to whom Dir is given.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	c, err := newCluster(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	if err := c.clearPredecessor(ctx); err != nil {
		return nil, err
	}
	process, err := Start(Command{
		Name: "PostgreSQL", Path: filepath.Join(c.bin, "postgres"), Args: c.serverArgs(), Env: c.env(), Dir: c.data(), LogFile: c.log, Account: c.account,
		Stop: []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT}, // "fast": clients are disconnected; then "immediate"
	})
	if err != nil {
		return nil, err
	}
	p := &Postgres{Process: process, SocketDir: c.sock(), bin: c.bin, env: c.env()}
	if err := p.Await(ctx, p.ready); err != nil {
		_ = p.Stop() // the reason it did not get ready says more
		return nil, err
	}
	return p, nil
}

// DSN names a role and a database of this server.
func (p *Postgres) DSN(role, database string) string { return socketDSN(p.SocketDir, role, database) }

func socketDSN(dir, role, database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {dir}, "user": {role}}.Encode()}
	return u.String()
}

// EnsureDatabase makes the database when it does not exist.
func (p *Postgres) EnsureDatabase(ctx context.Context, name string) error {
	// psql quotes the name; \gexec runs the statement the query made, if it made one.
	script := `SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec` + "\n"
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "name="+name, "-h", p.SocketDir, "-U", Superuser, "-d", "postgres")
	cmd.Env, cmd.Stdin = p.env, strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create database %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// ready asks with PostgreSQL's own program, so that no client library is needed here.
func (p *Postgres) ready(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "pg_isready"), "-h", p.SocketDir, "-U", Superuser, "-d", "postgres", "-t", "1")
	cmd.Env = p.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_isready: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// cluster is a directory with a PostgreSQL cluster in it, and how to run programs on it.
type cluster struct {
	PostgresConfig
	bin     string
	log     string
	account *Account
}

func newCluster(cfg PostgresConfig) (*cluster, error) {
	bin, err := FindPostgres(cfg.BinDir)
	if err != nil {
		return nil, err
	}
	account, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if cfg.ConnectionsMax == 0 {
		cfg.ConnectionsMax = 100
	}
	c := &cluster{PostgresConfig: cfg, bin: bin, log: cfg.LogFile, account: account}
	if c.log == "" {
		c.log = filepath.Join(cfg.Dir, "postgres.log")
	}
	if path := filepath.Join(c.sock(), socketName); len(path) > socketPathBytesMax {
		return nil, fmt.Errorf("PostgreSQL: the socket path %s has %d bytes, the operating system allows %d: use a directory with a shorter name", path, len(path), socketPathBytesMax)
	}
	return c, nil
}

func (c *cluster) data() string { return filepath.Join(c.Dir, "data") }
func (c *cluster) sock() string { return filepath.Join(c.Dir, "sock") }

// env is all the servers see: no PGDATA or PGPORT of the caller, messages in English.
func (c *cluster) env() []string {
	return []string{"PATH=" + c.bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
}

func (c *cluster) serverArgs() []string {
	args := []string{"-D", c.data(), "-k", c.sock()}
	set := func(name, value string) { args = append(args, "-c", name+"="+value) }
	set("listen_addresses", "")
	set("unix_socket_permissions", "0700")
	set("max_connections", strconv.Itoa(c.ConnectionsMax))
	set("timezone", "UTC")
	set("log_timezone", "UTC")
	if c.Throwaway {
		set("fsync", "off")
		set("synchronous_commit", "off")
		set("full_page_writes", "off")
	}
	return args
}

// prepare makes the directories and, when there is no cluster yet, the cluster: initdb works in data.new, renamed when complete.
func (c *cluster) prepare(ctx context.Context) error {
	for _, dir := range []string{c.Dir, c.sock()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
	}
	if err := c.account.own(c.Dir); err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	if !c.account.canEnter(c.Dir) {
		return fmt.Errorf("PostgreSQL: user %s, as whom it runs because you are root, cannot enter %s: a folder above it is private", c.account.Name, c.Dir)
	}
	if version, err := os.ReadFile(filepath.Join(c.data(), "PG_VERSION")); err == nil {
		return c.checkVersion(ctx, strings.TrimSpace(string(version)))
	}
	unfinished := c.data() + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	args := []string{"-D", unfinished, "-U", Superuser, "-E", "UTF8", "--locale=" + utf8Locale(), "--auth=trust"}
	if c.Throwaway {
		args = append(args, "-N") // no fsync
	}
	if out, err := c.program(ctx, "initdb", args...); err != nil {
		return fmt.Errorf("PostgreSQL: initdb: %w:\n%s", err, indent(strings.TrimSpace(out)))
	}
	return os.Rename(unfinished, c.data())
}

// utf8Locale sorts by code point everywhere; Linux has it with UTF-8 character classes, other systems only plain.
func utf8Locale() string {
	if runtime.GOOS == "linux" {
		return "C.UTF-8"
	}
	return "C"
}

// checkVersion refuses data of another major version, which PostgreSQL cannot read.
func (c *cluster) checkVersion(ctx context.Context, ofData string) error {
	out, err := c.program(ctx, "postgres", "--version") // "postgres (PostgreSQL) 15.8 (Debian …)"
	if err != nil {
		return fmt.Errorf("PostgreSQL: postgres --version: %w: %s", err, strings.TrimSpace(out))
	}
	fields := strings.Fields(out)
	if len(fields) < 3 || strings.HasPrefix(fields[2], ofData+".") || strings.HasPrefix(fields[2], ofData+"beta") || strings.HasPrefix(fields[2], ofData+"rc") {
		return nil
	}
	return fmt.Errorf("PostgreSQL: %s was made by version %s, the installed one is %s: install version %s again, or remove the data", c.data(), ofData, fields[2], ofData)
}

func (c *cluster) program(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Env, cmd.Dir = c.env(), c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.account != nil {
		cmd.SysProcAttr.Credential = c.account.credential()
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
