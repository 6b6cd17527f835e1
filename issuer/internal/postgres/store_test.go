package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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

// withTracer makes every connection of the store call t.
func withTracer(t pgx.QueryTracer) func(*postgres.Config) {
	return func(cfg *postgres.Config) { *cfg = cfg.WithTracer(t) }
}

func setup(t *testing.T, options ...func(*postgres.Config)) *bundle {
	t.Helper()
	db := pgtest.New(t)
	c := &clock{at: start}
	cfg := postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN, Now: c.Now, PoolWaitMax: time.Minute}
	for _, o := range options {
		o(&cfg)
	}
	s, err := postgres.Open(t.Context(), cfg)
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
