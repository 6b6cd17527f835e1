package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

func TestAgentLifeCycle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	org := b.newOrganization(t, "acme").ID
	made := b.newAgent(t, org, "payer")
	got, err := b.Agent(ctx, made.ID)
	if diff := cmp.Diff(made, got, compareIDs); diff != "" || err != nil {
		t.Fatalf("created (-), read (+): %v\n%s", err, diff)
	}

	b.clock.Advance(time.Minute)
	name, scopes := "renamed", []string{"a", "b"}
	updated, err := b.agents.Update(ctx, operator, made.ID, 1, agents.Update{Name: &name, Scopes: &scopes})
	want := made
	want.Name, want.Scopes, want.Version, want.UpdatedAt = name, scopes, 2, made.UpdatedAt.Add(time.Minute)
	if diff := cmp.Diff(want, updated, compareIDs); diff != "" || err != nil {
		t.Fatalf("updated: %v\n%s", err, diff)
	}
	_, err = b.agents.Update(ctx, operator, made.ID, 1, agents.Update{Name: &name})
	wantProblem(t, "update of an old version", err, problem.PreconditionFailed, "version_differs")

	suspended, err := b.agents.Suspend(ctx, operator, made.ID)
	if err != nil || suspended.Status != agents.Suspended || suspended.TokensNotBefore.IsZero() || suspended.Version != 3 {
		t.Fatalf("suspended %+v, %v", suspended, err)
	}
	b.clock.Advance(time.Hour)
	back, err := b.agents.Reactivate(ctx, operator, made.ID)
	if err != nil || back.Status != agents.Active || !back.TokensNotBefore.Equal(suspended.TokensNotBefore) {
		t.Fatalf("reactivated %+v, %v", back, err)
	}
	revoked, err := b.agents.Revoke(ctx, operator, made.ID)
	if err != nil || revoked.Status != agents.Revoked {
		t.Fatalf("revoked %+v, %v", revoked, err)
	}
	got, err = b.Agent(ctx, made.ID)
	if diff := cmp.Diff(revoked, got, compareIDs); diff != "" || err != nil {
		t.Fatalf("read back: %v\n%s", err, diff)
	}
	_, err = b.agents.Reactivate(ctx, operator, made.ID)
	wantProblem(t, "reactivate a revoked agent", err, problem.Conflict, "agent_revoked")
	_, _, err = b.agents.CreateCredential(ctx, operator, made.ID, 0)
	wantProblem(t, "credential of a revoked agent", err, problem.Conflict, "agent_revoked")

	wantProblem(t, "delete of an old version", b.agents.Delete(ctx, operator, made.ID, 1), problem.PreconditionFailed, "version_differs")
	if err := b.agents.Delete(ctx, operator, made.ID, revoked.Version); err != nil {
		t.Fatal(err)
	}
	_, err = b.Agent(ctx, made.ID)
	wantProblem(t, "read after delete", err, problem.NotFound, "agent_not_found")
}

func TestAgentThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	crd := agentid.New[agentid.Credential]()
	for name, id := range map[string]agentid.Agent{"unknown": agentid.New[agentid.Agent](), "zero": {}} {
		_, read := b.Agent(ctx, id)
		_, update := b.agents.Update(ctx, operator, id, 0, agents.Update{})
		_, suspend := b.agents.Suspend(ctx, operator, id)
		_, _, create := b.agents.CreateCredential(ctx, operator, id, 0)
		_, _, rotate := b.agents.RotateCredential(ctx, operator, id, crd, 0)
		_, list := b.agents.Credentials(ctx, id)
		_, _, client := b.ClientForAuthentication(ctx, id, start)
		for what, err := range map[string]error{
			"read": read, "update": update, "suspend": suspend, "create credential": create, "rotate": rotate, "credentials": list, "client": client,
			"delete": b.agents.Delete(ctx, operator, id, 0), "delete credential": b.agents.DeleteCredential(ctx, operator, id, crd),
		} {
			wantProblem(t, name+": "+what, err, problem.NotFound, "agent_not_found")
		}
	}
}

func TestAgentConflicts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	one, two := b.newOrganization(t, "one").ID, b.newOrganization(t, "two").ID
	a := b.newAgent(t, one, "payer")
	b.newAgent(t, two, "payer") // names are unique in the organization only
	other := b.newAgent(t, one, "other")

	_, err := b.CreateAgent(ctx, operator, agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: one, Name: "payer", Status: agents.Active, Capabilities: []string{}, Scopes: []string{}, Audiences: []string{}, Serves: []string{}})
	wantProblem(t, "name taken", err, problem.Conflict, "name_taken")
	name := a.Name
	_, err = b.agents.Update(ctx, operator, other.ID, 0, agents.Update{Name: &name})
	wantProblem(t, "renamed to a taken name", err, problem.Conflict, "name_taken")

	a.ID, a.OrganizationID = agentid.New[agentid.Agent](), agentid.New[agentid.Organization]()
	_, err = b.CreateAgent(ctx, operator, a)
	wantProblem(t, "organization missing", err, problem.NotFound, "organization_not_found")
	a.OrganizationID = agentid.Organization{}
	if _, err = b.CreateAgent(ctx, operator, a); err == nil {
		t.Error("an agent without organization was stored")
	}
}

func TestAgentPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, other := b.newOrganization(t, "acme").ID, b.newOrganization(t, "other").ID
	var want []agentid.Agent
	for i := range 5 {
		want = append(want, b.newAgent(t, org, fmt.Sprint("agent", i)).ID)
		b.newAgent(t, other, fmt.Sprint("agent", i))
	}
	var got []agentid.Agent
	var after agentid.Agent
	for {
		page, err := b.agents.List(t.Context(), org, after, 2)
		if err != nil || len(page) > 2 {
			t.Fatalf("%d agents, %v", len(page), err)
		}
		for _, a := range page {
			got = append(got, a.ID)
		}
		if len(page) < 2 {
			break
		}
		after = page[len(page)-1].ID
	}
	if diff := cmp.Diff(want, got, compareIDs); diff != "" {
		t.Error(diff)
	}
	if none, err := b.agents.List(t.Context(), agentid.New[agentid.Organization](), agentid.Agent{}, 10); err != nil || none == nil || len(none) != 0 {
		t.Errorf("agents of no organization: %v, %v", none, err)
	}
}

// Concurrent updates of one agent happen one after the other: none is lost.
func TestUpdatesAreNotLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	const writers = 8
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			_, err := b.UpdateAgent(t.Context(), operator, a.ID, 0, audit.AgentUpdate, func(a *agents.Agent) error {
				a.Scopes = append(a.Scopes, fmt.Sprint("s", i))
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := b.Agent(t.Context(), a.ID)
	if err != nil || len(got.Scopes) != len(a.Scopes)+writers || got.Version != a.Version+writers {
		t.Errorf("after %d updates: %d scopes, version %d, %v", writers, len(got.Scopes), got.Version, err)
	}
}
