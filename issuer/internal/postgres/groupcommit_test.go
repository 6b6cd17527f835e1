package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

// jam stops every transaction at its audit row of a token until it is opened, so that what comes later gathers.
type jam struct {
	t              *testing.T
	super, blocker *pgx.Conn
}

func newJam(t *testing.T, b *bundle) *jam {
	t.Helper()
	j := &jam{t, b.db.Superuser(t), b.db.Superuser(t)}
	exec(t, j.super, `create function stop() returns trigger language plpgsql as $$ begin
		if new.action = 'token.issue' then perform pg_advisory_xact_lock_shared(7); end if; return new; end $$`)
	exec(t, j.super, "create trigger stop before insert on audit_logs for each row execute function stop()")
	exec(t, j.blocker, "select pg_advisory_lock(7)")
	return j
}

func (j *jam) open() { exec(j.t, j.blocker, "select pg_advisory_unlock(7)") }

// record asks for tokens at the same time and calls meanwhile when all of them wait.
func (b *bundle) record(t *testing.T, issuances []issuance.Record, meanwhile func()) []error {
	t.Helper()
	errs := make([]error, len(issuances))
	var done sync.WaitGroup
	for n, i := range issuances {
		done.Go(func() { errs[n] = b.RecordTokenIssued(t.Context(), operator, i) })
	}
	meanwhile()
	done.Wait()
	return errs
}

// gathered waits until the committers are stopped and n tokens wait behind them.
func (j *jam) gathered(b *bundle, n int) {
	j.t.Helper()
	for begun := time.Now(); time.Since(begun) < blockedWait; {
		stopped := query[int64](j.t, j.super, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'")[0]
		if stopped == postgres.GroupCommitters && b.TokensWaiting() == n {
			return
		}
	}
	j.t.Fatalf("%d tokens wait, want %d", b.TokensWaiting(), n)
}

// blockers are tokens that keep every committer busy: the first of a group is whatever a committer finds.
func (j *jam) blockers(b *bundle, i issuance.Record) (wait func() []error) {
	results := make(chan error, postgres.GroupCommitters)
	for n := range postgres.GroupCommitters {
		go func() { results <- b.RecordTokenIssued(j.t.Context(), operator, i) }()
		awaitBlocked(j.t, j.super, int64(n+1))
	}
	return func() []error {
		var errs []error
		for range postgres.GroupCommitters {
			errs = append(errs, <-results)
		}
		return errs
	}
}

func repeat(i issuance.Record, n int) []issuance.Record {
	var all []issuance.Record
	for range n {
		all = append(all, i)
	}
	return all
}

// What waits while a group is committed becomes one group: one transaction, whatever its organizations, and each row in its own organization's log.
func TestTokensShareATransaction(t *testing.T) {
	t.Parallel()
	b := newTenants(t)
	b.mine.agent.OrganizationID = b.mine.org.ID
	j := newJam(t, b.bundle)
	busy := j.blockers(b.bundle, b.mine.issuance())
	const each = 40
	all := append(repeat(b.mine.issuance(), each), repeat(b.theirs.issuance(), each)...)
	errs := b.record(t, all, func() { j.gathered(b.bundle, len(all)); j.open() })
	if err := errors.Join(append(errs, busy()...)...); err != nil {
		t.Fatal(err)
	}
	transactions := query[int64](t, j.super, "select count(distinct tx) from audit_logs where action = 'token.issue'")[0]
	if most := int64(2 + postgres.GroupCommitters + 2); transactions > most { // newTenants records two
		t.Errorf("%d transactions for %d tokens, want at most %d", transactions, len(all), most)
	}
	for _, w := range []*world{b.mine, b.theirs} {
		if n := len(b.issued(t, w.org.ID)); n < each {
			t.Errorf("%d records in the log of %s, want %d and more", n, w.org.Slug, each)
		}
	}
	foreign := query[int64](t, j.super, `select count(*) from audit_logs l where action = 'token.issue'
		and not exists (select from agents a where a.org_id = l.org_id and l.target = 'agt_' || replace(a.id::text, '-', ''))`)[0]
	if foreign != 0 {
		t.Errorf("%d records in the log of another organization", foreign)
	}
}

// One that is dead does not take the others with it, and does not slip through with them.
func TestTheDeadOfAGroupAreRefusedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	suspended, deleted := w.newAgent(t, w.org.ID, "suspended"), w.newAgent(t, w.org.ID, "deleted")
	ofSuspended, gone := w.newCredential(t, suspended.ID), w.newCredential(t, deleted.ID)
	if _, err := w.agents.Suspend(t.Context(), operator, suspended.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.agents.DeleteCredential(t.Context(), operator, deleted.ID, gone.ID); err != nil {
		t.Fatal(err)
	}
	j := newJam(t, w.bundle)
	busy := j.blockers(w.bundle, w.issuance())
	confused := w.issuance()
	confused.OrganizationID = w.empty.ID
	group := []issuance.Record{
		w.issuance(),
		issuanceOf(suspended, ofSuspended.ID),
		w.issuance(),
		issuanceOf(deleted, gone.ID),
		issuanceOf(w.agent, gone.ID),
		confused,
		w.issuance(),
	}
	errs := w.record(t, group, func() { j.gathered(w.bundle, len(group)); j.open() })
	if err := errors.Join(busy()...); err != nil {
		t.Fatal(err)
	}
	for n, err := range errs {
		if n%2 == 0 && n != 4 {
			if err != nil {
				t.Errorf("token %d: %v", n, err)
			}
			continue
		}
		wantProblem(t, "a dead one", err, problem.NotFound, "credential_not_found")
	}
	if n := len(w.issued(t, w.org.ID)) + len(w.issued(t, w.empty.ID)); n != 3+postgres.GroupCommitters {
		t.Errorf("%d records", n)
	}
}

// An agent that somebody holds keeps its own tokens waiting, and nobody else's.
func TestALockedAgentHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	other := w.newAgent(t, w.org.ID, "other")
	c := w.newCredential(t, other.ID)
	super := w.db.Superuser(t)
	waits := make(chan error, 1)
	_, err := w.UpdateAgent(t.Context(), operator, w.agent.ID, 0, audit.AgentUpdate, func(*agents.Agent) error {
		go func() { waits <- w.RecordTokenIssued(t.Context(), operator, w.issuance()) }()
		awaitBlocked(t, super, 1)
		if err := w.RecordTokenIssued(t.Context(), operator, issuanceOf(other, c.ID)); err != nil {
			t.Errorf("another agent's token: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-waits; err != nil {
		t.Errorf("the held agent's token, after the change: %v", err)
	}
}

// A deletion of the credential that is under way is waited for, and then seen.
func TestTokenWaitsForTheDeletionOfItsCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super, deleter := w.db.Superuser(t), w.db.Superuser(t)
	exec(t, deleter, "begin")
	exec(t, deleter, "select from agents where id = $1 for update", w.agent.ID.UUID())
	exec(t, deleter, "delete from credentials where id = $1", w.credential.ID.UUID())
	result := make(chan error, 1)
	go func() { result <- w.RecordTokenIssued(t.Context(), operator, w.issuance()) }()
	awaitBlocked(t, super, 1)
	exec(t, deleter, "commit")
	wantProblem(t, "token during a deletion", <-result, problem.NotFound, "credential_not_found")
	if n := len(w.issued(t, w.org.ID)); n != 0 {
		t.Errorf("%d records", n)
	}
}

// A group that fails, at whichever step, fails all of its tokens, and writes none of them.
func TestAGroupFailsAsAWhole(t *testing.T) {
	t.Parallel()
	const refuse, leave = "raise exception 'no audit today';", "perform pg_terminate_backend(pg_backend_pid()); return new;"
	const atOnce = "create trigger broken before insert on audit_logs for each row when (new.body like '%poison%'::bytea) execute function broken()"
	const atCommit = "create constraint trigger broken after insert on audit_logs deferrable initially deferred for each row when (new.body like '%poison%'::bytea) execute function broken()"
	for name, step := range map[string]struct {
		function, trigger string // "": the batch is not sent
		want              problem.Kind
	}{
		"nothing is sent":                        {"", "", problem.Unavailable},
		"a row is refused":                       {refuse, atOnce, problem.Internal},
		"the server goes away at a row":          {leave, atOnce, problem.Unavailable},
		"the commit is refused":                  {refuse, atCommit, problem.Internal},
		"the server goes away before the commit": {leave, atCommit, problem.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faults{}
			w := newWorld(t, setup(t, withTracer(f)))
			super := w.db.Superuser(t)
			if step.function != "" {
				exec(t, super, "create function broken() returns trigger language plpgsql as $$ begin "+step.function+" end $$")
				exec(t, super, step.trigger)
			}
			j := newJam(t, w.bundle)
			busy := j.blockers(w.bundle, w.issuance())
			group := repeat(w.issuance(), 20)
			group[7].Details = map[string]any{"note": "poison"}
			errs := w.record(t, group, func() {
				j.gathered(w.bundle, len(group))
				if step.function == "" {
					f.arm(1)
				}
				j.open()
			})
			if err := errors.Join(busy()...); err != nil {
				t.Fatal(err)
			}
			f.arm(0)
			failed := 0
			for n, err := range errs { // the two committers may have shared them
				switch {
				case err != nil && problem.KindOf(err) == step.want:
					failed++
				case err != nil:
					t.Errorf("token %d: %v, want kind %v", n, err, step.want)
				}
			}
			records := len(w.issued(t, w.org.ID)) - postgres.GroupCommitters
			if failed == 0 || errs[7] == nil && step.function != "" || records != len(group)-failed {
				t.Errorf("%d of %d failed, %d records", failed, len(group), records)
			}
			if err := w.RecordTokenIssued(t.Context(), operator, w.issuance()); err != nil {
				t.Errorf("after the repair: %v", err)
			}
		})
	}
}

// What waits is bounded: beyond it tokens are refused at once, and those that wait are recorded.
func TestTheQueueOfTokensIsBounded(t *testing.T) {
	t.Parallel()
	const room = 3
	w := newWorld(t, setup(t, func(cfg *postgres.Config) { *cfg = cfg.WithTokensWaiting(room) }))
	j := newJam(t, w.bundle)
	busy := j.blockers(w.bundle, w.issuance())
	errs := w.record(t, repeat(w.issuance(), room), func() {
		j.gathered(w.bundle, room)
		err := w.RecordTokenIssued(t.Context(), operator, w.issuance())
		wantProblem(t, "one too many", err, problem.Unavailable, "overloaded")
		if p, ok := errors.AsType[*problem.Error](err); ok && p.RetryAfter <= 0 {
			t.Error("no RetryAfter")
		}
		j.open()
	})
	if err := errors.Join(append(errs, busy()...)...); err != nil {
		t.Error(err)
	}
	if n := len(w.issued(t, w.org.ID)); n != room+postgres.GroupCommitters {
		t.Errorf("%d records", n)
	}
}

// Whoever stops waiting gets an error, though the record may come to be: there is never a token without one.
func TestWhoeverStopsWaitingGetsNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	j := newJam(t, w.bundle)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- w.RecordTokenIssued(ctx, operator, w.issuance()) }()
	awaitBlocked(t, j.super, 1)
	cancel()
	wantUnavailable(t, "gave up", <-result)
	j.open()
}

// A store that closes commits what waits, and takes nothing more.
func TestCloseCommitsWhatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	j := newJam(t, w.bundle)
	busy := j.blockers(w.bundle, w.issuance())
	const waiting = 5
	closed := make(chan struct{})
	errs := w.record(t, repeat(w.issuance(), waiting), func() {
		j.gathered(w.bundle, waiting)
		go func() { w.Close(); close(closed) }()
		j.open()
	})
	<-closed
	if err := errors.Join(append(errs, busy()...)...); err != nil {
		t.Error(err)
	}
	if n := query[int64](t, j.super, "select count(*) from audit_logs where action = 'token.issue' and org_id = $1", w.org.ID.UUID())[0]; n != waiting+postgres.GroupCommitters {
		t.Errorf("%d records", n)
	}
	wantUnavailable(t, "closed", w.RecordTokenIssued(t.Context(), operator, w.issuance()))
}

// The order in the log is the order in which the tokens of a group were asked for.
func TestOrderWithinAGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	j := newJam(t, w.bundle)
	busy := j.blockers(w.bundle, w.issuance())
	const n = 10
	results := make(chan error, n)
	for i := range n {
		w.clock.Advance(time.Second)
		go func() { results <- w.RecordTokenIssued(t.Context(), operator, w.issuance()) }()
		j.gathered(w.bundle, i+1)
	}
	j.open()
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(busy()...); err != nil {
		t.Error(err)
	}
	out := query[int64](t, j.super, `select count(*) from audit_logs a join audit_logs b on a.tx = b.tx and a.id < b.id and a.ts > b.ts where a.action = 'token.issue'`)[0]
	if out != 0 {
		t.Errorf("%d pairs are out of order", out)
	}
	var before agentid.Event
	for _, r := range w.issued(t, w.org.ID) {
		if before == r.ID {
			t.Error("a record twice")
		}
		before = r.ID
	}
}
