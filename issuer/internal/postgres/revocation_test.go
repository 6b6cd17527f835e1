package postgres_test

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

const issuer = "https://issuer.example"

func (b *bundle) revocations(t *testing.T) *trust.RevocationList {
	t.Helper()
	l, err := b.RevocationList(t.Context(), issuer, agentid.Organization{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wantDead says which tokens of the agent the list kills: none (no entry), every one (0), or those issued before a second.
func wantDead(t *testing.T, when string, l *trust.RevocationList, id agentid.Agent, entry bool, before int64) {
	t.Helper()
	found := 0
	for _, a := range l.Agents {
		if a.ID == id.String() {
			found++
			if a.IssuedBefore != before {
				t.Errorf("%s: issuedBefore %d, want %d", when, a.IssuedBefore, before)
			}
		}
	}
	if entry != (found == 1) || found > 1 {
		t.Errorf("%s: %d entries, want one: %v", when, found, entry)
	}
}

func TestRevocationListFollowsAnAgent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	org := b.newOrganization(t, "acme").ID
	a, bystander := b.newAgent(t, org, "payer"), b.newAgent(t, org, "bystander")
	last := b.revocations(t)
	if last.Issuer != issuer || last.IssuedAt != start.Unix() || last.Sequence == 0 || len(last.Agents) != 0 {
		t.Fatalf("at first %+v", last)
	}
	if last.Agents == nil || last.Organizations == nil || last.Credentials == nil || last.Keys == nil || last.Tokens == nil || last.Issuers == nil || last.Partners == nil {
		t.Error("an empty list is null")
	}
	watermark := start.Unix() + 1
	for _, step := range []struct {
		name   string
		call   func() error
		entry  bool
		before int64
		grows  bool
	}{
		{"suspended", func() error { _, err := b.agents.Suspend(ctx, operator, a.ID); return err }, true, 0, true},
		{"suspended for a day", func() error { b.clock.Advance(23 * time.Hour); return nil }, true, 0, false},
		{"reactivated", func() error { _, err := b.agents.Reactivate(ctx, operator, a.ID); return err }, true, watermark, true},
		{"watermark old", func() error { b.clock.Advance(time.Hour + time.Second); return nil }, false, 0, false},
		{"renamed", func() error {
			name := "renamed"
			_, err := b.agents.Update(ctx, operator, a.ID, 0, agents.Update{Name: &name})
			return err
		}, false, 0, false},
		{"revoked", func() error { _, err := b.agents.Revoke(ctx, operator, a.ID); return err }, true, 0, true},
		{"long after", func() error { b.clock.Advance(1000 * time.Hour); return nil }, true, 0, false},
	} {
		if err := step.call(); err != nil {
			t.Fatal(err)
		}
		l := b.revocations(t)
		wantDead(t, step.name, l, a.ID, step.entry, step.before)
		wantDead(t, step.name, l, bystander.ID, false, 0)
		if grew := l.Sequence > last.Sequence; grew != step.grows || l.Sequence < last.Sequence {
			t.Errorf("%s: sequence %d after %d, want it to grow: %v", step.name, l.Sequence, last.Sequence, step.grows)
		}
		last = l
	}
}

func TestDeletedAgentStaysDeadUntilItsTokensAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.clock.at = time.Now() // the database keeps the time of a deletion
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	before := b.revocations(t)
	if err := b.agents.Delete(t.Context(), operator, a.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.orgs.Delete(t.Context(), operator, a.OrganizationID, 0); err != nil {
		t.Fatal(err)
	}
	l := b.revocations(t)
	wantDead(t, "deleted", l, a.ID, true, 0)
	if l.Sequence <= before.Sequence {
		t.Errorf("sequence %d after %d", l.Sequence, before.Sequence)
	}
	b.clock.Advance(23 * time.Hour)
	wantDead(t, "a day later, nearly", b.revocations(t), a.ID, true, 0)
	b.clock.Advance(2 * time.Hour)
	wantDead(t, "more than a day later", b.revocations(t), a.ID, false, 0)
}

// A number that a reader has seen belongs to one content: no change shows up later under it or below it, however transactions interleave.
func TestSequenceAndContentBelongTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.clock.at = time.Now() // the database keeps the time of a deletion
	org := b.newOrganization(t, "acme").ID
	const writers, states = 4, 5
	var ids []agentid.Agent
	for i := range writers {
		ids = append(ids, b.newAgent(t, org, fmt.Sprint("agent", i)).ID)
	}
	var group sync.WaitGroup
	var enough atomic.Bool // seen: the writers go on until then
	defer group.Wait()
	defer enough.Store(true)
	for _, id := range ids {
		group.Go(func() {
			for !enough.Load() {
				if _, err := b.agents.Suspend(t.Context(), operator, id); err != nil {
					t.Error(err)
				}
				if _, err := b.agents.Reactivate(t.Context(), operator, id); err != nil {
					t.Error(err)
				}
				c, _, err := b.agents.CreateCredential(t.Context(), operator, id, 0)
				if err != nil {
					t.Error(err)
				}
				if err := b.agents.DeleteCredential(t.Context(), operator, id, c.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	seen := map[int64]*trust.RevocationList{}
	var last int64
	deadline := time.Now().Add(time.Minute)
	for running := true; running; {
		select {
		case <-done:
			running = false // one more look
		default:
			enough.Store(len(seen) >= states || t.Failed() || time.Now().After(deadline))
		}
		l := b.revocations(t)
		if l.Sequence < last {
			t.Fatalf("sequence %d after %d", l.Sequence, last)
		}
		if content, known := seen[l.Sequence]; known && !reflect.DeepEqual(content, l) {
			t.Fatalf("sequence %d means %+v and %+v", l.Sequence, content, l)
		}
		seen[l.Sequence], last = l, l.Sequence
	}
	if len(seen) < states {
		t.Errorf("only %d states seen: this test proves little", len(seen))
	}
}

// A change that is not committed has a number nobody sees, and the next change waits for it.
func TestChangesTakeTheirNumbersOneAfterTheOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	super := b.db.Superuser(t)
	org := b.newOrganization(t, "acme").ID
	first, second := b.newAgent(t, org, "first"), b.newAgent(t, org, "second")
	before := b.revocations(t)

	open := b.db.Superuser(t)
	exec(t, open, "begin")
	exec(t, open, "update agents set status = 'suspended' where id = $1", first.ID.UUID())
	suspended := make(chan error, 1)
	go func() {
		_, err := b.UpdateAgent(t.Context(), operator, second.ID, 0, audit.AgentSuspend, func(a *agents.Agent) error { a.Status = agents.Suspended; return nil })
		suspended <- err
	}()
	awaitBlocked(t, super, 1)
	if l := b.revocations(t); l.Sequence != before.Sequence || len(l.Agents) != 0 {
		t.Errorf("uncommitted changes show: %+v", l)
	}
	exec(t, open, "commit")
	if err := <-suspended; err != nil {
		t.Fatal(err)
	}
	l := b.revocations(t)
	wantDead(t, "first", l, first.ID, true, 0)
	wantDead(t, "second", l, second.ID, true, 0)
	if l.Sequence < before.Sequence+2 {
		t.Errorf("sequence %d, want two more than %d at least", l.Sequence, before.Sequence)
	}
}

// After a restore from a backup the number in the database is older than what sidecars hold; the next change must get past it.
func TestSequenceSurvivesARestore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	held := b.revocations(t).Sequence
	exec(t, b.db.Superuser(t), "update revocation_sequence set value = 7")
	if _, err := b.agents.Suspend(t.Context(), operator, a.ID); err != nil {
		t.Fatal(err)
	}
	if now := b.revocations(t).Sequence; now <= held {
		t.Errorf("sequence %d after the restore, sidecars hold %d", now, held)
	}
}

func TestSequenceRowIsNeeded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	exec(t, b.db.Superuser(t), "delete from revocation_sequence")
	if l, err := b.RevocationList(t.Context(), issuer, agentid.Organization{}); err == nil {
		t.Errorf("a list without a sequence: %+v", l)
	}
}
