package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
)

func (w *world) newInitialToken(uses int) selfregistration.InitialToken {
	return selfregistration.InitialToken{
		ID: agentid.New[agentid.InitialToken](), OrganizationID: w.org.ID, Name: "t", Scopes: []string{"a"}, Audiences: []string{"svc://a"}, UsesMax: uses,
		CreatedAt: start, ExpiresAt: start.Add(time.Hour), Hash: make([]byte, 32),
	}
}

func (w *world) newRegistered(t *testing.T, token selfregistration.InitialToken, name string) selfregistration.Registered {
	t.Helper()
	p, err := w.agents.Prepare(agents.Create{OrganizationID: w.org.ID, Name: name, Audiences: token.Audiences}, agents.KindClientSecret, agents.Registration{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return selfregistration.Registered{Prepared: p, Token: token, Authentication: "client_secret_post", Hash: make([]byte, 32)}
}

// registerSomething puts a row into each table of this file.
func (w *world) registerSomething(t *testing.T) {
	t.Helper()
	w.initial = w.newInitialToken(1000)
	if err := w.CreateInitialToken(t.Context(), operator, w.initial); err != nil {
		t.Fatal(err)
	}
	w.registered = w.newRegistered(t, w.initial, "registered")
	if err := w.RegisterAgent(t.Context(), operator, w.registered); err != nil {
		t.Fatal(err)
	}
}

// registrationProbes are the probes of initial access tokens and registrations.
var registrationProbes = map[string]probe{
	"InitialAccessTokens": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		all, err := q.InitialAccessTokens(ctx, mine.org.ID.UUID())
		leaked := false
		for _, row := range all {
			leaked = leaked || row.OrgID == theirs.org.ID.UUID()
		}
		return leaked, err
	},
	"InitialAccessToken": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		row, err := q.InitialAccessToken(ctx, orgdb.InitialAccessTokenParams{OrgID: mine.org.ID.UUID(), ID: theirs.initial.ID.UUID()})
		return row.ID != uuid.Nil, err
	},
	"UseInitialAccessToken": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.UseInitialAccessToken(ctx, orgdb.UseInitialAccessTokenParams{OrgID: mine.org.ID.UUID(), ID: theirs.initial.ID.UUID(), At: start})
		return n > 0, err
	},
	"DeleteInitialAccessToken": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.DeleteInitialAccessToken(ctx, orgdb.DeleteInitialAccessTokenParams{OrgID: mine.org.ID.UUID(), ID: theirs.initial.ID.UUID()})
		return n > 0, err
	},
	"ForgetInitialAccessTokens": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		err := q.ForgetInitialAccessTokens(ctx, orgdb.ForgetInitialAccessTokensParams{OrgID: mine.org.ID.UUID(), Before: start.Add(48 * time.Hour)})
		return c.affected > 1, err // mine is one
	},
	"AgentRegistration": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		row, err := q.AgentRegistration(ctx, orgdb.AgentRegistrationParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.registered.Agent.ID.UUID()})
		return row.AgentID != uuid.Nil, err
	},
	"UpdateAgentRegistration": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.UpdateAgentRegistration(ctx, orgdb.UpdateAgentRegistrationParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.registered.Agent.ID.UUID(), Authentication: "none"})
		return n > 0, err
	},
}

// registrationInserts are the inserts of initial access tokens and registrations.
var registrationInserts = map[string]func(ctx context.Context, q *orgdb.Queries, theirs *world) error{
	"InsertInitialAccessToken": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertInitialAccessToken(ctx, orgdb.InsertInitialAccessTokenParams{
			OrgID: theirs.org.ID.UUID(), ID: uuid.New(), Name: "planted", Hash: make([]byte, 32), Scopes: []string{}, Audiences: []string{}, UsesMax: 1, CreatedAt: start, ExpiresAt: start,
		})
	},
	"InsertAgentRegistration": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertAgentRegistration(ctx, orgdb.InsertAgentRegistrationParams{
			OrgID: theirs.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), Authentication: "client_secret_post", Hash: make([]byte, 32), Scopes: []string{}, CreatedAt: start,
		})
	},
}

// Whoever is faster gets the uses there are, and nothing is half registered.
func TestUsesOfAnInitialTokenAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := newWorld(t, b)
	token := w.newInitialToken(5)
	if err := b.CreateInitialToken(t.Context(), operator, token); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var registered, refused atomic.Int64
	for i := range 20 {
		r := w.newRegistered(t, token, fmt.Sprint("agent-", i))
		all.Go(func() {
			switch err := b.RegisterAgent(t.Context(), operator, r); problem.KindOf(err) {
			case problem.NotFound:
				refused.Add(1)
			default:
				if err != nil {
					t.Error(err)
				}
				registered.Add(1)
			}
		})
	}
	all.Wait()
	if registered.Load() != 5 || refused.Load() != 15 {
		t.Errorf("%d registered, %d refused", registered.Load(), refused.Load())
	}
	super := b.db.Superuser(t)
	if n := query[int64](t, super, "select count(*) from agents where name like 'agent-%'")[0]; n != 5 {
		t.Errorf("%d agents", n)
	}
	taken := w.newRegistered(t, w.newInitialToken(1), "payer")
	if err := b.CreateInitialToken(t.Context(), operator, taken.Token); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "a name that is taken", b.RegisterAgent(t.Context(), operator, taken), problem.Conflict, "name_taken")
	if got, err := b.InitialToken(t.Context(), w.org.ID, taken.Token.ID); err != nil || got.Uses != 0 {
		t.Errorf("a registration that failed used the token: %+v, %v", got, err)
	}
	b.clock.Advance(time.Hour)
	wantProblem(t, "expired", b.RegisterAgent(t.Context(), operator, w.newRegistered(t, taken.Token, "late")), problem.NotFound, "initial_access_token_not_found")
}

func TestInitialTokensAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := newWorld(t, b)
	for range selfregistration.TokensMax - 1 { // the world has one
		if err := b.CreateInitialToken(t.Context(), operator, w.newInitialToken(1)); err != nil {
			t.Fatal(err)
		}
	}
	more := w.newInitialToken(1)
	wantProblem(t, "one more", b.CreateInitialToken(t.Context(), operator, more), problem.Conflict, "too_many_initial_access_tokens")
	more.CreatedAt, more.ExpiresAt = start.Add(32*24*time.Hour), start.Add(33*24*time.Hour)
	if err := b.CreateInitialToken(t.Context(), operator, more); err != nil {
		t.Errorf("when the others are long expired: %v", err)
	}
	if all, err := b.InitialTokens(t.Context(), w.org.ID); err != nil || len(all) != 1 {
		t.Errorf("%d left, %v", len(all), err)
	}
	nobody := w.newInitialToken(1)
	nobody.OrganizationID = agentid.New[agentid.Organization]()
	wantProblem(t, "nobody's", b.CreateInitialToken(t.Context(), operator, nobody), problem.NotFound, "organization_not_found")
}
