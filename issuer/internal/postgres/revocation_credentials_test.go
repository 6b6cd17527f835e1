package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/agents"
)

func (b *bundle) newCredential(t *testing.T, id agentid.Agent) agents.Credential {
	t.Helper()
	c, _, err := b.agents.CreateCredential(t.Context(), operator, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lists(l *trust.RevocationList, id agentid.Credential) bool {
	return slices.Contains(l.Credentials, trust.Credential{ID: id.String()})
}

func TestDeletedCredentialIsRevokedUntilItsTokensAreDead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.clock.at = time.Now() // the database keeps the time of a deletion
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	gone, kept := b.newCredential(t, a.ID), b.newCredential(t, a.ID)
	before := b.revocations(t)
	if len(before.Credentials) != 0 {
		t.Fatalf("at first %+v", before)
	}
	if err := b.agents.DeleteCredential(t.Context(), operator, a.ID, gone.ID); err != nil {
		t.Fatal(err)
	}
	l := b.revocations(t)
	if !lists(l, gone.ID) || lists(l, kept.ID) || len(l.Agents) != 0 || l.Sequence <= before.Sequence {
		t.Errorf("after the deletion %+v", l)
	}
	wantProblem(t, "deleted twice", b.agents.DeleteCredential(t.Context(), operator, a.ID, gone.ID), problem.NotFound, "credential_not_found")
	if again := b.revocations(t); again.Sequence != l.Sequence || len(again.Credentials) != 1 {
		t.Errorf("a deletion that found nothing changed the list: %+v", again)
	}
	b.clock.Advance(23 * time.Hour)
	if l := b.revocations(t); !lists(l, gone.ID) {
		t.Errorf("a day later, nearly: %+v", l)
	}
	b.clock.Advance(2 * time.Hour)
	if l := b.revocations(t); len(l.Credentials) != 0 {
		t.Errorf("more than a day later: %+v", l)
	}
}

// The end of a credential is no deletion: what it gave out lives on. It goes without an entry when its agent goes, because the agent has one.
func TestWhatIsNoRevocationOfACredential(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.clock.at = time.Now()
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	old := b.newCredential(t, a.ID)
	before := b.revocations(t)
	if _, _, err := b.agents.RotateCredential(t.Context(), operator, a.ID, old.ID, 0); err != nil {
		t.Fatal(err)
	}
	if l := b.revocations(t); len(l.Credentials) != 0 || l.Sequence != before.Sequence {
		t.Errorf("rotated: %+v", l)
	}
	if err := b.agents.Delete(t.Context(), operator, a.ID, 0); err != nil {
		t.Fatal(err)
	}
	l := b.revocations(t)
	wantDead(t, "agent deleted", l, a.ID, true, 0)
	if len(l.Credentials) != 0 {
		t.Errorf("agent deleted: %+v", l)
	}
	// Deleted first, and then its agent and organization: the entry stays.
	other := b.newAgent(t, a.OrganizationID, "other")
	c := b.newCredential(t, other.ID)
	for _, remove := range []func() error{
		func() error { return b.agents.DeleteCredential(t.Context(), operator, other.ID, c.ID) },
		func() error { return b.agents.Delete(t.Context(), operator, other.ID, 0) },
		func() error { return b.orgs.Delete(t.Context(), operator, a.OrganizationID, 0) },
	} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
	if l := b.revocations(t); !lists(l, c.ID) {
		t.Errorf("organization deleted: %+v", l)
	}
}

// Whoever deletes credentials all day makes the list no longer: beyond a number of them the agent has a watermark, which covers them all.
func TestManyDeletedCredentialsBecomeAWatermark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.clock.at = time.Now()
	org := b.newOrganization(t, "acme").ID
	busy, calm := b.newAgent(t, org, "busy"), b.newAgent(t, org, "calm")
	kept := b.newCredential(t, calm.ID)
	if err := b.agents.DeleteCredential(t.Context(), operator, calm.ID, kept.ID); err != nil {
		t.Fatal(err)
	}
	const listed = 16
	for n := range listed + 1 {
		c := b.newCredential(t, busy.ID)
		if err := b.agents.DeleteCredential(t.Context(), operator, busy.ID, c.ID); err != nil {
			t.Fatal(err)
		}
		l := b.revocations(t)
		if n < listed && (!lists(l, c.ID) || len(l.Credentials) != n+2 || len(l.Agents) != 0) {
			t.Fatalf("after %d: %+v", n+1, l)
		}
	}
	l := b.revocations(t)
	if len(l.Credentials) != 1 || !lists(l, kept.ID) || len(l.Agents) != 1 || l.Agents[0].ID != busy.ID.String() {
		t.Fatalf("%+v", l)
	}
	now := time.Now().Unix() // the watermark is the second after the last deletion: it kills what was issued before, and what comes later lives
	if before := l.Agents[0].IssuedBefore; before > now+1 || before < b.clock.Now().Unix() {
		t.Errorf("watermark %d, now %d, began %d", before, now, b.clock.Now().Unix())
	}
}
