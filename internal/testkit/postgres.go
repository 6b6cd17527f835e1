package testkit

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// PostgresVariable names the environment variable with the superuser DSN of a PostgreSQL that serves all packages of a run.
const PostgresVariable = "AGENTIDP_TEST_POSTGRES"

// PostgresConnections is enough for every package's pools at once on a machine with a few cores.
const PostgresConnections = 300

// shared is the PostgreSQL of this test binary. Tests of one binary run in one process, so it is process-wide state, ended by Main.
var shared struct {
	sync.Mutex
	server *ThrowawayPostgres
	err    error
}

// Postgres returns the superuser DSN of this test run's PostgreSQL: the one named by AGENTIDP_TEST_POSTGRES when the run started one for all
// packages (make test), else a private one for this test binary, stopped at its end: the binary's TestMain must call Main.
func Postgres(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(PostgresVariable); dsn != "" {
		return dsn
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), startWait)
		defer cancel()
		shared.server, shared.err = StartThrowawayPostgres(ctx)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server.DSN(localsvc.Superuser, "postgres")
}

func stopShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	server := shared.server
	shared.server = nil
	return server.Discard()
}

// ThrowawayPostgres is a PostgreSQL whose data is gone when it stops.
type ThrowawayPostgres struct {
	*localsvc.Postgres
	dir string
}

// StartThrowawayPostgres starts one in a temporary directory, without fsync.
func StartThrowawayPostgres(ctx context.Context) (*ThrowawayPostgres, error) {
	dir, err := os.MkdirTemp("/tmp", "agentidp-pg-") // not TMPDIR: user postgres must be able to enter it, and the socket path is short
	if err != nil {
		return nil, err
	}
	server, err := localsvc.StartPostgres(ctx, localsvc.PostgresConfig{Dir: dir, Throwaway: true, ConnectionsMax: PostgresConnections})
	if err != nil {
		return nil, fmt.Errorf("%w\n(its files are kept in %s)", err, dir)
	}
	return &ThrowawayPostgres{Postgres: server, dir: dir}, nil
}

// Discard stops the server and removes its data.
func (p *ThrowawayPostgres) Discard() error {
	stopped := p.Stop()
	if err := os.RemoveAll(p.dir); err != nil {
		return err
	}
	return stopped
}
