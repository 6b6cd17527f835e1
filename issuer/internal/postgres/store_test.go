package postgres_test

import (
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// operator is the actor of these tests.
var operator = audit.Actor{Kind: audit.KindBootstrap, RequestID: "req-1", Source: "192.0.2.7"}

// start is the first moment of a test's clock: not a whole second, as in life.
var start = time.Date(2026, 3, 1, 12, 0, 0, 250_000_000, time.UTC)

// bundle is a store on a database of its own, with the services above it.
type bundle struct {
	*postgres.Store
	db     *pgtest.Database
	clock  *clock
	orgs   *orgs.Service
	agents *agents.Service
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := pgtest.New(t)
	c := &clock{at: start}
	s, err := postgres.Open(t.Context(), postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN, Now: c.Now, PoolWaitMax: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	a, err := agents.NewService(s, make([]byte, 32), c.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{Store: s, db: db, clock: c, orgs: orgs.NewService(s, c.Now), agents: a}
}

func (b *bundle) newOrganization(t *testing.T, slug string) orgs.Organization {
	t.Helper()
	o, err := b.orgs.Create(t.Context(), operator, orgs.Create{Slug: slug, DisplayName: "The " + slug})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (b *bundle) newAgent(t *testing.T, org agentid.Organization, name string) agents.Agent {
	t.Helper()
	a, err := b.agents.Create(t.Context(), operator, agents.Create{
		OrganizationID: org, Name: name, Type: "assistant", Description: "made by a test",
		Capabilities: []string{"pay"}, Scopes: []string{"payments:read"}, Audiences: []string{"svc://payments"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSmoke(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := b.newOrganization(t, "acme")
	a := b.newAgent(t, o.ID, "payer")
	_, secret, err := b.agents.CreateCredential(t.Context(), operator, a.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got, crd, err := b.agents.AuthenticateSecret(t.Context(), a.ID.String(), secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.agents.RecordTokenIssued(t.Context(), operator, got, crd, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.agents.RotateCredential(t.Context(), operator, a.ID, crd, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := b.agents.Suspend(t.Context(), operator, a.ID); err != nil {
		t.Fatal(err)
	}
	l, err := b.RevocationList(t.Context(), "https://issuer")
	t.Log(l, err)
	r, err := b.AuditRecords(t.Context(), o.ID, audit.Filter{}, agentid.Event{}, 100)
	t.Log(r, err)
	t.Log(b.agents.Credentials(t.Context(), a.ID))
}
