package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

func (b *bundle) issued(t *testing.T, org agentid.Organization) []audit.Record {
	t.Helper()
	records, err := b.AuditRecords(t.Context(), org, audit.Filter{Action: audit.TokenIssue}, agentid.Event{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestTokenIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	by := audit.Actor{Kind: audit.KindAgent, ID: w.agent.ID.String(), RequestID: "r7", Source: "192.0.2.1"}
	if err := w.agents.RecordTokenIssued(t.Context(), by, issuance.Record{OrganizationID: w.agent.OrganizationID, Agent: w.agent.ID, Credential: w.credential.ID, Details: map[string]any{"tokenId": "jti-1", "scope": "payments:read"}}); err != nil {
		t.Fatal(err)
	}
	records := w.issued(t, w.org.ID)
	if len(records) != 1 {
		t.Fatalf("%d records, want 1", len(records))
	}
	r := records[0]
	if r.Actor != by || r.Target != w.agent.ID.String() || r.Details["tokenId"] != "jti-1" || r.Details["credentialId"] != w.credential.ID.String() {
		t.Errorf("recorded %+v", r)
	}
}

func TestLastUseIsKeptToTheMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	for _, step := range []struct {
		advance time.Duration
		want    time.Time
	}{
		{0, start.Truncate(time.Minute)},
		{20 * time.Second, start.Truncate(time.Minute)},
		{time.Minute, start.Truncate(time.Minute).Add(time.Minute)},
	} {
		w.clock.Advance(step.advance)
		if err := w.agents.RecordTokenIssued(t.Context(), operator, w.issuance()); err != nil {
			t.Fatal(err)
		}
		list, err := w.agents.Credentials(t.Context(), w.agent.ID)
		if err != nil || len(list) != 1 || !list[0].LastUsedAt.Equal(step.want) {
			t.Errorf("%+v, %v; want last use %s", list, err, step.want)
		}
	}
	if n := len(w.issued(t, w.org.ID)); n != 3 {
		t.Errorf("%d records, want 3", n)
	}
}

// No token for what was in order when the client authenticated and is not any more.
func TestTokenIsRefusedWhenThingsChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(context.Context, *world) error{
		"agent suspended": func(ctx context.Context, w *world) error {
			_, err := w.agents.Suspend(ctx, operator, w.agent.ID)
			return err
		},
		"agent revoked": func(ctx context.Context, w *world) error {
			_, err := w.agents.Revoke(ctx, operator, w.agent.ID)
			return err
		},
		"agent deleted": func(ctx context.Context, w *world) error { return w.agents.Delete(ctx, operator, w.agent.ID, 0) },
		"credential deleted": func(ctx context.Context, w *world) error {
			return w.agents.DeleteCredential(ctx, operator, w.agent.ID, w.credential.ID)
		},
		"credential expired": func(_ context.Context, w *world) error { w.clock.Advance(time.Hour); return nil },
		"credential of another": func(_ context.Context, w *world) error {
			w.credential.ID = agentid.New[agentid.Credential]()
			return nil
		},
		"organization wrong": func(_ context.Context, w *world) error { w.agent.OrganizationID = w.empty.ID; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup(t))
			if err := change(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			err := w.agents.RecordTokenIssued(t.Context(), operator, w.issuance())
			wantProblem(t, name, err, problem.NotFound, "credential_not_found")
			if n := len(w.issued(t, w.org.ID)); n != 0 {
				t.Errorf("%d records of a token that was not issued", n)
			}
		})
	}
}

// blockedWait is how long a test waits for another connection to be stopped by a lock.
const blockedWait = 20 * time.Second

// awaitBlocked returns when n other connections to this database wait for a lock.
func awaitBlocked(t *testing.T, super *pgx.Conn, n int64) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < blockedWait; {
		if query[int64](t, super, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")[0] >= n {
			return
		}
	}
	t.Errorf("%d connections should wait for a lock, and do not", n)
}

// A token asked for while the suspension is being committed waits for it, and is refused.
func TestTokenWaitsForASuspensionUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super := w.db.Superuser(t)
	result := make(chan error, 1)
	_, err := w.UpdateAgent(t.Context(), operator, w.agent.ID, 0, audit.AgentSuspend, func(a *agents.Agent) error {
		go func() { result <- w.RecordTokenIssued(t.Context(), operator, w.issuance()) }()
		awaitBlocked(t, super, 1)
		a.Status, a.TokensNotBefore = agents.Suspended, start
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "token during a suspension", <-result, problem.NotFound, "credential_not_found")
}

// The other way round: a suspension waits for a token being recorded, so that its watermark is later than the token.
func TestSuspensionWaitsForATokenUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super, blocker := w.db.Superuser(t), w.db.Superuser(t)
	// The token's transaction stops at its audit row, after it locked the agent.
	exec(t, super, `create function stop() returns trigger language plpgsql as $$ begin
		if new.action = 'token.issue' then perform pg_advisory_xact_lock(7); end if; return new; end $$`)
	exec(t, super, "create trigger stop before insert on audit_logs for each row execute function stop()")
	exec(t, blocker, "select pg_advisory_lock(7)")
	recorded := make(chan error, 1)
	go func() { recorded <- w.RecordTokenIssued(t.Context(), operator, w.issuance()) }()
	awaitBlocked(t, super, 1)

	suspended := make(chan error, 1)
	order := make(chan string, 2)
	go func() {
		_, err := w.UpdateAgent(t.Context(), operator, w.agent.ID, 0, audit.AgentSuspend, func(a *agents.Agent) error {
			order <- "suspension computed"
			a.Status, a.TokensNotBefore = agents.Suspended, start
			return nil
		})
		suspended <- err
	}()
	awaitBlocked(t, super, 2)
	select {
	case <-order:
		t.Error("the suspension did not wait for the token")
	default:
	}
	exec(t, blocker, "select pg_advisory_unlock(7)")
	if err := <-recorded; err != nil {
		t.Error(err)
	}
	if err := <-suspended; err != nil {
		t.Error(err)
	}
}
