package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// dump is every row of every table of ours as text, seen by a superuser: what two dumps do not show has not changed.
func dump(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	ctx := context.Background()
	tables := query[string](t, conn, `select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'agentidp' and c.relkind = 'r' order by 1`)
	var out strings.Builder
	for _, table := range tables {
		rows, err := conn.Query(ctx, fmt.Sprintf("select x::text from agentidp.%s x order by 1", table))
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			fmt.Fprintf(&out, "%s%s\n", table, line)
		}
	}
	return out.String()
}

// query reads one column.
func query[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) []T {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
