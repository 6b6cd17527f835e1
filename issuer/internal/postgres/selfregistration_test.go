package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
)

func (w *world) newInitialToken(uses int) selfregistration.InitialToken {
	return selfregistration.InitialToken{
		ID: agentid.New[agentid.InitialToken](), OrganizationID: w.org.ID, Name: "t", Kinds: []string{"agent", "relying_party"}, Scopes: []string{"a"}, Audiences: []string{"svc://a"}, UsesMax: uses,
		CreatedAt: start, ExpiresAt: start.Add(time.Hour), Hash: make([]byte, 32),
	}
}

func (w *world) newRegistered(t *testing.T, token selfregistration.InitialToken, name string) selfregistration.Registered {
	t.Helper()
	p, err := w.agents.Prepare(agents.Create{OrganizationID: w.org.ID, Name: name, Audiences: token.Audiences}, credentials.KindClientSecret, credentials.Registration{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return selfregistration.Registered{Prepared: p, Token: token, Authentication: "client_secret_post", Hash: make([]byte, 32)}
}

func (w *world) newRegisteredClient(token selfregistration.InitialToken, name string) selfregistration.RegisteredClient {
	c := w.newClient(name)
	credential := &clients.Credential{ID: agentid.New[agentid.Credential](), ClientID: c.ID, Kind: credentials.KindClientSecret, CreatedAt: start, ExpiresAt: start.Add(time.Hour)}
	return selfregistration.RegisteredClient{
		Prepared: clients.Prepared{Client: c, Credential: credential, SecretHash: make([]byte, 32)}, Token: token, Hash: make([]byte, 32),
	}
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
	w.registeredClient = w.newRegisteredClient(w.initial, "registered")
	if err := w.RegisterClient(t.Context(), operator, w.registeredClient); err != nil {
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
	"ClientRegistration": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		row, err := q.ClientRegistration(ctx, orgdb.ClientRegistrationParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.registeredClient.Client.ID.UUID()})
		return row.ClientID != uuid.Nil, err
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
			OrgID: theirs.org.ID.UUID(), ID: uuid.New(), Name: "planted", Hash: make([]byte, 32), Kinds: []string{"agent"}, Scopes: []string{}, Audiences: []string{}, UsesMax: 1, CreatedAt: start, ExpiresAt: start,
		})
	},
	"InsertClientRegistration": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertClientRegistration(ctx, orgdb.InsertClientRegistrationParams{
			OrgID: theirs.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), Hash: make([]byte, 32), Scopes: []string{}, CreatedAt: start,
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
	if all, err := b.InitialTokens(t.Context(), w.org.ID); err != nil || len(all) != 2 { // the world has one, for a long time
		t.Errorf("%d left, %v", len(all), err)
	}
	nobody := w.newInitialToken(1)
	nobody.OrganizationID = agentid.New[agentid.Organization]()
	wantProblem(t, "nobody's", b.CreateInitialToken(t.Context(), operator, nobody), problem.NotFound, "organization_not_found")
}

// awaitLocks returns when n transactions wait for somebody else's locks.
func awaitLocks(t *testing.T, conn *pgx.Conn, n int64) {
	t.Helper()
	for deadline := time.Now().Add(1500 * time.Millisecond); ; { // less than they wait
		waiting := query[int64](t, conn, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")[0]
		if waiting >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d: this test proves nothing", waiting, n)
		}
	}
}

// Those that come at the same time are counted, too: each has been counted when the next one is.
func TestInitialTokensAreBoundedInParallel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := newWorld(t, b)
	for range selfregistration.TokensMax - 2 { // the world has one
		if err := b.CreateInitialToken(t.Context(), operator, w.newInitialToken(1)); err != nil {
			t.Fatal(err)
		}
	}
	blocker, watcher := b.db.Superuser(t), b.db.Superuser(t)
	exec(t, blocker, "begin")
	exec(t, blocker, "lock table audit_logs in share mode") // nobody is done before all have begun
	const many = 4
	done := make(chan error, many)
	for range many {
		go func() { done <- b.CreateInitialToken(t.Context(), operator, w.newInitialToken(1)) }()
	}
	awaitLocks(t, watcher, many)
	exec(t, blocker, "commit")
	made := 0
	for range many {
		if err := <-done; err == nil {
			made++
		} else {
			wantProblem(t, "one too many", err, problem.Conflict, "too_many_initial_access_tokens")
		}
	}
	if all, err := b.InitialTokens(t.Context(), w.org.ID); made != 1 || err != nil || len(all) != selfregistration.TokensMax {
		t.Errorf("%d made, %d there, %v", made, len(all), err)
	}
}

// The deletion of an organization and what registers in it wait for each other in one order, and never both.
func TestRegistrationWhileTheOrganizationIsDeleted(t *testing.T) {
	t.Parallel()
	for name, register := range map[string]func(*world, selfregistration.InitialToken) error{
		"an agent": func(w *world, token selfregistration.InitialToken) error {
			r := w.newRegistered(t, token, "late")
			r.Agent.OrganizationID = token.OrganizationID
			return w.RegisterAgent(t.Context(), operator, r)
		},
		"a relying party": func(w *world, token selfregistration.InitialToken) error {
			r := w.newRegisteredClient(token, "late")
			r.Client.OrganizationID = token.OrganizationID
			return w.RegisterClient(t.Context(), operator, r)
		},
		"another token": func(w *world, token selfregistration.InitialToken) error { // which forgets the one that is long expired
			token.ID, token.CreatedAt = agentid.New[agentid.InitialToken](), token.ExpiresAt.AddDate(1, 0, 0)
			token.ExpiresAt = token.CreatedAt.Add(time.Hour)
			return w.CreateInitialToken(t.Context(), operator, token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup(t))
			token := w.newInitialToken(10)
			token.OrganizationID = w.empty.ID
			if err := w.CreateInitialToken(t.Context(), operator, token); err != nil {
				t.Fatal(err)
			}
			deleting, watcher := w.db.Superuser(t), w.db.Superuser(t)
			exec(t, deleting, "begin")
			exec(t, deleting, "select from organizations where org_id = $1 for update", w.empty.ID.UUID())
			done := make(chan error, 1)
			go func() { done <- register(w, token) }()
			awaitLocks(t, watcher, 1)
			exec(t, deleting, "delete from organizations where org_id = $1", w.empty.ID.UUID())
			exec(t, deleting, "commit")
			if err := <-done; problem.KindOf(err) != problem.NotFound || err == nil {
				t.Errorf("%v, want NotFound", err)
			}
		})
	}
}

// Registrations of before have the method that they were read with, of every organization; initial access tokens of before register agents.
func TestRegistrationsKeepTheirMethods(t *testing.T) {
	t.Parallel()
	pgtest.New(t) // the roles exist
	db := pgtest.NewEmpty(t)
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, 17); err != nil {
		t.Fatal(err)
	}
	super := db.Superuser(t)
	for _, org := range []string{"0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e51", "0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e52"} {
		exec(t, super, "insert into agentidp.organizations values ($1, $2, 'x', now(), now(), 1)", org, "o"+org[35:])
		exec(t, super, `insert into agentidp.initial_access_tokens (org_id, id, name, hash, scopes, audiences, uses, uses_max, created_at, expires_at)
			values ($1, gen_random_uuid(), 't', $2, '{}', '{}', 0, 1, now(), now())`, org, make([]byte, 32))
		for _, kind := range []string{"client_secret", "private_key_jwt", "gone"} {
			agent, credential := uuid.New(), uuid.New()
			exec(t, super, `insert into agentidp.agents (org_id, id, name, type, description, capabilities, scopes, audiences, serves, dpop_bound, certificate_bound, status, created_at, updated_at, version)
				values ($1, $2, $3, '', '', '{}', '{}', '{}', '{}', false, false, 'active', now(), now(), 1)`, org, agent, kind)
			exec(t, super, `insert into agentidp.agent_registrations (org_id, agent_id, credential_id, hash, scopes, created_at) values ($1, $2, $3, $4, '{}', now())`, org, agent, credential, make([]byte, 32))
			switch kind {
			case "client_secret":
				exec(t, super, `insert into agentidp.credentials (org_id, agent_id, id, kind, secret_hash, created_at) values ($1, $2, $3, $4, $5, now())`, org, agent, credential, kind, make([]byte, 32))
			case "private_key_jwt":
				exec(t, super, `insert into agentidp.credentials (org_id, agent_id, id, kind, registration, created_at) values ($1, $2, $3, $4, '{}', now())`, org, agent, credential, kind)
			}
		}
	}
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
		t.Fatal(err)
	}
	got := query[string](t, super, `select distinct name || ' ' || authentication from agentidp.agent_registrations r join agentidp.agents a on a.org_id = r.org_id and a.id = r.agent_id order by 1`)
	if diff := cmp.Diff([]string{"client_secret client_secret_basic", "gone ", "private_key_jwt private_key_jwt"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if n := query[int64](t, super, "select count(*) from agentidp.initial_access_tokens where kinds = '{agent}' and secret_lifetime = 0")[0]; n != 2 {
		t.Errorf("%d initial access tokens", n)
	}
	if open := query[string](t, super, "select relname::text from pg_class where oid in ('agentidp.credentials'::regclass, 'agentidp.agent_registrations'::regclass) and not relforcerowsecurity"); len(open) > 0 {
		t.Errorf("row-level security is not forced any more: %v", open)
	}
}
