package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema holds everything of ours. pg_temp is named last, so that a temporary table never stands in for a real one.
const (
	schema     = "agentidp"
	searchPath = schema + ", pg_temp"
)

// Limits of every connection, set on the server: a client that hangs or forgets must not hold locks, and an open transaction anywhere in the
// cluster holds up vacuum and whoever waits for its locks.
const (
	statementTimeout         = 5 * time.Second
	lockTimeout              = 2 * time.Second
	idleInTransactionTimeout = 10 * time.Second
	connectTimeout           = 5 * time.Second
)

// errNoConnection is every failure to get a connection: the server is down or refuses, the pool is closed, or all are busy for longer than allowed.
var errNoConnection = errors.New("no database connection")

// Place says where a DSN leads, "agentidp_app at db.example:5432/agentidp", without its password. It opens no connection; an error says what is wrong with the DSN.
func Place(dsn string) (string, error) {
	pc, err := parseDSN(dsn)
	if err != nil {
		return "", err
	}
	c := pc.ConnConfig
	return fmt.Sprintf("%s at %s/%s", c.User, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.Database), nil
}

func parseDSN(dsn string) (*pgxpool.Config, error) {
	if !strings.Contains(dsn, "=") && !strings.Contains(dsn, "://") { // which pgx would repeat, and a bare password is one
		return nil, errors.New("want a connection string, such as postgres://agentidp_app@db.example/agentidp?sslmode=verify-full")
	}
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	if m := pc.ConnConfig.DefaultQueryExecMode; m == pgx.QueryExecModeSimpleProtocol || m == pgx.QueryExecModeExec {
		// Both send arguments as text chosen by the client; the simple protocol pastes them into the statement.
		return nil, fmt.Errorf("default_query_exec_mode %s is refused: use cache_statement, cache_describe or describe_exec", m)
	}
	return pc, nil
}

func newPool(ctx context.Context, dsn string, cfg *Config) (*pgxpool.Pool, error) {
	pc, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	pc.MaxConns = cfg.ConnectionsMax
	pc.MinConns = 1
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = connectTimeout
	}
	p := pc.ConnConfig.RuntimeParams
	if p["application_name"] == "" {
		p["application_name"] = "agentidp-issuer"
	}
	p["search_path"] = searchPath
	p["timezone"] = "UTC"
	p["statement_timeout"] = milliseconds(statementTimeout)
	p["lock_timeout"] = milliseconds(lockTimeout)
	p["idle_in_transaction_session_timeout"] = milliseconds(idleInTransactionTimeout)
	pc.ConnConfig.Tracer = cfg.tracer
	return pgxpool.NewWithConfig(ctx, pc)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// pool gives connections out, after a bounded wait.
type pool struct {
	*pgxpool.Pool
	waitMax time.Duration
}

func (p pool) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	waiting, cancel := context.WithTimeout(ctx, p.waitMax)
	defer cancel()
	conn, err := p.Pool.Acquire(waiting)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoConnection, err)
	}
	return conn, nil
}

func (p pool) ping(ctx context.Context) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return conn.Ping(ctx)
}

// inTx runs fn in a transaction: committed when fn returns nil, else rolled back.
func (p pool) inTx(ctx context.Context, fn func(pgx.Tx) error) error {
	conn, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return pgx.BeginFunc(ctx, conn, fn)
}

// once runs each statement in a transaction of its own, in one round trip: a batch {set_config, statement} is one implicit transaction, so the setting ends
// with it. Measured at 6 µs above a bare select, where BEGIN, set_config, statement, COMMIT costs 50.
type once struct {
	pool
	organization string // "" for the platform role, which sets none
}

// setOrganization is local to the transaction (third argument): a setting of the session would be inherited by the next user of the connection.
const setOrganization = `select set_config('app.org_id', $1, true)`

func (o once) send(ctx context.Context, sql string, args []any) (*pgxpool.Conn, pgx.BatchResults, error) {
	conn, err := o.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	var batch pgx.Batch
	if o.organization != "" {
		batch.Queue(setOrganization, o.organization)
	}
	batch.Queue(sql, args...)
	results := conn.SendBatch(ctx, &batch)
	if o.organization != "" {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // the same error
			conn.Release()
			return nil, nil, err
		}
	}
	return conn, results, nil
}

// Exec implements DBTX. The statement is committed when it returns nil.
func (o once) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	conn, results, err := o.send(ctx, sql, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Release()
	tag, err := results.Exec()
	return tag, errors.Join(err, closeAfter(results, err))
}

// closeAfter ends the batch. Its error matters (the commit happens here) unless it repeats the statement's.
func closeAfter(results pgx.BatchResults, statement error) error {
	if err := results.Close(); statement == nil {
		return err
	}
	return nil
}

// Query implements DBTX. The connection is given back when the rows are closed.
func (o once) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	conn, results, err := o.send(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		conn.Release()
		return nil, err
	}
	return &onceRows{Rows: rows, results: results, conn: conn}, nil
}

// QueryRow implements DBTX.
func (o once) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	conn, results, err := o.send(ctx, sql, args)
	return &onceRow{results: results, conn: conn, err: err}
}

type onceRows struct {
	pgx.Rows
	results pgx.BatchResults
	conn    *pgxpool.Conn // nil when given back
}

// Close is called at least once by every user of rows; later calls do nothing.
func (r *onceRows) Close() {
	r.Rows.Close()
	if r.conn != nil {
		_ = r.results.Close() // reads only: a failure after the last row changes nothing
		r.conn.Release()
		r.conn = nil
	}
}

type onceRow struct {
	results pgx.BatchResults
	conn    *pgxpool.Conn
	err     error
}

// Scan implements pgx.Row and ends the transaction.
func (r *onceRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.conn.Release()
	err := r.results.QueryRow().Scan(dest...)
	return errors.Join(err, closeAfter(r.results, err))
}
