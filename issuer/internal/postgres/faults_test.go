package postgres_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/problem"
)

// faults counts what is sent to the server (a batch is one) and makes the n-th fail, before it is sent: begin and commit count too.
type faults struct {
	mu     sync.Mutex
	failAt int // 0: never
	sent   []string
}

func (f *faults) arm(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.sent = n, nil
}

func (f *faults) statements() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

func (f *faults) start(ctx context.Context, sql string) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, sql)
	if len(f.sent) != f.failAt {
		return ctx
	}
	broken, cancel := context.WithCancel(ctx)
	cancel()
	return broken
}

func (f *faults) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return f.start(ctx, data.SQL)
}

func (f *faults) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (f *faults) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return f.start(ctx, "batch")
}

func (f *faults) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (f *faults) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// Whichever statement fails, the first or the commit, nothing is stored.
func TestMutationIsAllOrNothing(t *testing.T) {
	forEachMutation(t, func(t *testing.T, w *world, m mutation, super *pgx.Conn, f *faults) {
		before := dump(t, super)
		const statementsMax = 20
		for n := 1; n <= statementsMax; n++ {
			f.arm(n)
			err := m.run(t.Context(), w, operator)
			if len(f.statements()) < n { // it had fewer: this was the run without a fault
				if err != nil || n == 1 {
					t.Fatalf("without a fault: %v after %d statements", err, n-1)
				}
				if dump(t, super) == before {
					t.Error("the mutation changes nothing: this test proves nothing")
				}
				return
			}
			if kind := problem.KindOf(err); kind != problem.Unavailable {
				t.Errorf("statement %d (%s) failed: %v, want Unavailable", n, f.statements()[n-1], err)
			}
			if diff := cmp.Diff(before, dump(t, super)); diff != "" {
				t.Fatalf("statement %d (%s) failed, and yet:\n%s", n, f.statements()[n-1], diff)
			}
		}
		t.Fatalf("more than %d statements", statementsMax)
	})
}

// The server's own refusals: of the audit row, and of the commit after every statement succeeded.
func TestMutationWithoutItsAuditRowDoesNotHappen(t *testing.T) {
	for name, trigger := range map[string]string{
		"insert fails": "create trigger broken before insert on audit_logs for each row execute function broken()",
		"commit fails": "create constraint trigger broken after insert on audit_logs deferrable initially deferred for each row execute function broken()",
	} {
		t.Run(name, func(t *testing.T) {
			forEachMutation(t, func(t *testing.T, w *world, m mutation, super *pgx.Conn, _ *faults) {
				exec(t, super, "create function broken() returns trigger language plpgsql as $$ begin raise exception 'no audit today'; end $$")
				exec(t, super, trigger)
				before := dump(t, super)
				if err := m.run(t.Context(), w, operator); problem.KindOf(err) != problem.Internal || err == nil {
					t.Errorf("%v, want Internal", err)
				}
				if diff := cmp.Diff(before, dump(t, super)); diff != "" {
					t.Errorf("no audit row, and yet:\n%s", diff)
				}
				exec(t, super, "drop trigger broken on audit_logs")
				if err := m.run(t.Context(), w, operator); err != nil {
					t.Errorf("after the repair: %v", err)
				}
			})
		})
	}
}
