package postgres_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
)

// world is what a mutation can act on.
type world struct {
	*bundle
	org, empty orgs.Organization
	agent      agents.Agent
	credential agents.Credential

	initial          selfregistration.InitialToken
	registered       selfregistration.Registered
	registeredClient selfregistration.RegisteredClient
	party            *party
}

func newWorld(t *testing.T, b *bundle) *world {
	t.Helper()
	w := &world{bundle: b, empty: b.newOrganization(t, "empty"), org: b.newOrganization(t, "acme")}
	w.agent = b.newAgent(t, w.org.ID, "payer")
	if err := b.ChangeSigningKeys(t.Context(), operator, w.empty.ID, firstKey("old", start)); err != nil {
		t.Fatal(err)
	}
	if err := b.Keysets(operator).CreateKeyset(t.Context(), w.empty.ID.String(), seal.WrappedKeyset{Bytes: []byte("old"), KEKID: "1"}); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.credential, _, err = b.agents.CreateCredential(t.Context(), operator, w.agent.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	w.party = w.newParty(t, "party")
	w.initial = w.newInitialToken(10)
	w.initial.ExpiresAt = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) // some stores have the real clock
	if err := b.CreateInitialToken(t.Context(), operator, w.initial); err != nil {
		t.Fatal(err)
	}
	w.registered = w.newRegistered(t, w.initial, "registered")
	if err := b.RegisterAgent(t.Context(), operator, w.registered); err != nil {
		t.Fatal(err)
	}
	return w
}

// issued is a token of after revokeSomething.
var issued = issuance.Token{ID: "t", IssuedAt: start.Add(time.Second), ExpiresAt: start.Add(time.Minute)}

func issuanceOf(a agents.Agent, credential agentid.Credential) issuance.Record {
	return issuance.Record{OrganizationID: a.OrganizationID, Agent: a.ID, Credential: credential, Token: issued}
}

// issuance is a token of the client alone.
func (w *world) issuance() issuance.Record {
	return issuanceOf(w.agent, w.credential.ID)
}

// exchange is a token made from one of the same agent, with a proof.
func (w *world) exchange() issuance.Record {
	i := w.issuance()
	i.Holders = []issuance.Holder{{Agent: w.agent.ID, Credential: w.credential.ID, IssuedAt: start}}
	i.Uses = []issuance.SingleUse{{Purpose: issuance.UseProof, Key: [32]byte{1}, ExpiresAt: start.Add(time.Minute)}}
	return i
}

// firstKey is the change that gives an issuer its first key, made at a moment.
func firstKey(kid string, at time.Time) keys.Change {
	return keys.Change{Action: audit.KeyCreate, Target: kid, DueAt: at, Create: []keys.Stored{{
		ID: kid, Use: keys.AccessToken, Algorithm: jose.ES256, State: keys.ActiveKey, PublicJWK: []byte(`{"kty":"EC"}`), Sealed: []byte("sealed " + kid), CreatedAt: at, ActivatedAt: at,
	}}}
}

// mutation is one way to change something. It must be repeatable after it failed.
type mutation struct {
	name   string // "Method" or "Method: variant" of *postgres.Store
	action audit.Action
	run    func(context.Context, *world, audit.Actor) error
}

// mutations has every method of the store that takes an actor; TestEveryMutationIsListed fails when one is missing.
var mutations = []mutation{
	{"CreateOrganization", audit.OrganizationCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.CreateOrganization(ctx, by, orgs.Organization{ID: agentid.New[agentid.Organization](), Slug: "new", DisplayName: "New", CreatedAt: start, UpdatedAt: start, Version: 1})
		return err
	}},
	{"UpdateOrganization", audit.OrganizationUpdate, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.UpdateOrganization(ctx, by, w.org.ID, 0, func(o *orgs.Organization) error { o.DisplayName = "Renamed"; return nil })
		return err
	}},
	{"DeleteOrganization", audit.OrganizationDelete, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.DeleteOrganization(ctx, by, w.empty.ID, 0)
	}},
	{"PutOrganizationLimits", audit.OrganizationLimits, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.PutOrganizationLimits(ctx, by, w.org.ID, 0, orgs.Limits{Client: ratelimit.Limit{PerMinute: 60, Burst: 5}, UpdatedAt: start})
		return err
	}},
	{"CreateAgent", audit.AgentCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		a := w.agent
		a.ID, a.Name = agentid.New[agentid.Agent](), "another"
		_, err := w.CreateAgent(ctx, by, a)
		return err
	}},
	{"UpdateAgent", audit.AgentUpdate, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.UpdateAgent(ctx, by, w.agent.ID, 0, audit.AgentUpdate, func(a *agents.Agent) error { a.Name = "renamed"; return nil })
		return err
	}},
	{"UpdateAgent: suspend", audit.AgentSuspend, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.UpdateAgent(ctx, by, w.agent.ID, 0, audit.AgentSuspend, func(a *agents.Agent) error { a.Status, a.TokensNotBefore = agents.Suspended, start; return nil })
		return err
	}},
	{"DeleteAgent", audit.AgentDelete, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.DeleteAgent(ctx, by, w.agent.ID, 0)
	}},
	{"CreateCredential", audit.CredentialCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		c := agents.Credential{ID: agentid.New[agentid.Credential](), AgentID: w.agent.ID, Kind: credentials.KindClientSecret, CreatedAt: start}
		_, err := w.CreateCredential(ctx, by, c, make([]byte, 32))
		return err
	}},
	{"RotateCredential", audit.CredentialRotate, func(ctx context.Context, w *world, by audit.Actor) error {
		next := agents.Credential{ID: agentid.New[agentid.Credential](), AgentID: w.agent.ID, Kind: credentials.KindClientSecret, CreatedAt: start}
		_, err := w.RotateCredential(ctx, by, w.agent.ID, w.credential.ID, next, make([]byte, 32), start.Add(time.Minute))
		return err
	}},
	{"DeleteCredential", audit.CredentialDelete, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.DeleteCredential(ctx, by, w.agent.ID, w.credential.ID)
	}},
	{"RecordTokenIssued", audit.TokenIssue, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.RecordTokenIssued(ctx, by, issuance.Record{OrganizationID: w.agent.OrganizationID, Agent: w.agent.ID, Credential: w.credential.ID, Details: map[string]any{"tokenId": "t"}})
	}},
	{"RecordTokenIssued: with what it uses up", audit.TokenIssue, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.RecordTokenIssued(ctx, by, w.exchange())
	}},
	{"CreateClient", audit.ClientCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		c := w.newClient("another")
		first := newClientCredential(c.ID)
		_, err := w.CreateClient(ctx, by, c, &first, make([]byte, 32))
		return err
	}},
	{"CreateClientCredential", audit.CredentialCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.CreateClientCredential(ctx, by, newClientCredential(w.party.client.ID), make([]byte, 32))
		return err
	}},
	{"RotateClientCredential", audit.CredentialRotate, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.RotateClientCredential(ctx, by, w.party.credential.ID, newClientCredential(w.party.client.ID), make([]byte, 32), start.Add(time.Minute))
		return err
	}},
	{"DeleteClientCredential", audit.CredentialDelete, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.DeleteClientCredential(ctx, by, w.party.client.ID, w.party.credential.ID)
	}},
	{"UpdateClient", audit.ClientUpdate, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.UpdateClient(ctx, by, w.party.client.ID, 0, func(c *clients.Client) error { c.Name = "renamed"; return nil })
		return err
	}},
	{"DeleteClient", audit.ClientDelete, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.DeleteClient(ctx, by, w.party.client.ID, 0)
	}},
	{"CreateSignIn", audit.SignInCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.CreateSignIn(ctx, by, w.newSignIn(w.party.client.ClientID()), &w.party.pushed.Key)
	}},
	{"RevokeSignIn", audit.SignInRevoke, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.RevokeSignIn(ctx, by, w.org.ID, w.party.signIn.ID, "tested")
	}},
	{"RecordTokenIssued: of a relying party", audit.TokenIssue, func(ctx context.Context, w *world, by audit.Actor) error {
		i := w.issuance()
		i.SignIn = &issuance.SignInStep{ID: w.party.signIn.ID, ExpiresAt: start.Add(time.Hour), Tokens: []issuance.SignInToken{{ID: "before", ExpiresAt: start.Add(time.Minute)}}}
		return w.RecordTokenIssued(ctx, by, i)
	}},
	{"CreateInitialToken", audit.InitialTokenCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.CreateInitialToken(ctx, by, w.newInitialToken(1))
	}},
	{"DeleteInitialToken", audit.InitialTokenDelete, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.DeleteInitialToken(ctx, by, w.org.ID, w.initial.ID)
	}},
	{"RegisterAgent", audit.AgentRegister, func(ctx context.Context, w *world, by audit.Actor) error {
		p, err := w.agents.Prepare(agents.Create{OrganizationID: w.org.ID, Name: "another", Audiences: []string{"svc://a"}}, credentials.KindClientSecret, credentials.Registration{}, 0)
		if err != nil {
			return err
		}
		return w.RegisterAgent(ctx, by, selfregistration.Registered{Prepared: p, Token: w.initial, Hash: make([]byte, 32)})
	}},
	{"RegisterClient", audit.ClientRegister, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.RegisterClient(ctx, by, w.newRegisteredClient(w.initial, "another"))
	}},
	{"UpdateRegistration", audit.AgentUpdate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.UpdateRegistration(ctx, by, selfregistration.Registration{Agent: w.registered.Agent.ID}, "client_secret_basic")
	}},
	{"RevokeToken", audit.TokenRevoke, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.RevokeToken(ctx, by, revocation.Token{Organization: w.org.ID, Agent: w.agent.ID, ID: "jti", ExpiresAt: start.Add(time.Minute)})
	}},
	{"RevokeOrganizationTokens", audit.OrganizationRevokeTokens, func(ctx context.Context, w *world, by audit.Actor) error {
		_, err := w.RevokeOrganizationTokens(ctx, by, w.org.ID)
		return err
	}},
	{"ChangeSigningKeys: first of the instance", audit.KeyCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.ChangeSigningKeys(ctx, by, agentid.Organization{}, firstKey("kid", start))
	}},
	{"ChangeSigningKeys: first of an organization", audit.KeyCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.ChangeSigningKeys(ctx, by, w.org.ID, firstKey("kid", start))
	}},
	{"ChangeSigningKeys: revoke", audit.KeyRevoke, func(ctx context.Context, w *world, by audit.Actor) error {
		set, err := w.SigningKeys(ctx, w.empty.ID)
		if err != nil {
			return err
		}
		return w.ChangeSigningKeys(ctx, by, w.empty.ID, keys.Change{
			Action: audit.KeyRevoke, Target: "old", Revision: set.Revision, DueAt: start,
			Moves:  []keys.Move{{ID: "old", From: keys.ActiveKey, To: keys.Destroyed, Revoked: true, At: start}},
			Create: firstKey("new", start).Create,
		})
	}},
	{"Keysets: of the instance", audit.KeysetCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.Keysets(by).CreateKeyset(ctx, "", seal.WrappedKeyset{Bytes: []byte("w"), KEKID: "1"})
	}},
	{"Keysets: rewrapped", audit.KeysetRewrap, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.Keysets(by).ReplaceKeyset(ctx, w.empty.ID.String(), seal.WrappedKeyset{Bytes: []byte("old")}, seal.WrappedKeyset{Bytes: []byte("new"), KEKID: "2"})
	}},
	{"Keysets: of an organization", audit.KeysetCreate, func(ctx context.Context, w *world, by audit.Actor) error {
		return w.Keysets(by).CreateKeyset(ctx, w.org.ID.String(), seal.WrappedKeyset{Bytes: []byte("w"), KEKID: "1"})
	}},
}

func TestEveryMutationIsListed(t *testing.T) {
	t.Parallel()
	var listed, exist []string
	for _, m := range mutations {
		if name := methodOf(m.name); !slices.Contains(listed, name) {
			listed = append(listed, name)
		}
	}
	store, actor := reflect.TypeFor[*postgres.Store](), reflect.TypeFor[audit.Actor]()
	for i := range store.NumMethod() {
		m := store.Method(i)
		for in := range m.Type.Ins() {
			if in == actor {
				exist = append(exist, m.Name)
			}
		}
	}
	slices.Sort(listed)
	if diff := cmp.Diff(exist, listed); diff != "" {
		t.Errorf("methods that take an actor (-) and the mutations tested (+):\n%s", diff)
	}
}

func methodOf(name string) string {
	if i := slices.Index([]byte(name), ':'); i >= 0 {
		return name[:i]
	}
	return name
}

// forEachMutation runs test once per mutation, each on its own database.
func forEachMutation(t *testing.T, test func(*testing.T, *world, mutation, *pgx.Conn, *faults)) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			f := &faults{}
			b := setup(t, withTracer(f))
			test(t, newWorld(t, b), m, b.db.Superuser(t), f)
		})
	}
}

func TestMutationWritesOneAuditRow(t *testing.T) {
	forEachMutation(t, func(t *testing.T, w *world, m mutation, super *pgx.Conn, _ *faults) {
		before := query[int64](t, super, "select coalesce(max(id), 0) from audit_logs")[0]
		by := audit.Actor{Kind: audit.KindSystem, ID: "tester", RequestID: "r9", Source: "192.0.2.9"}
		if err := m.run(t.Context(), w, by); err != nil {
			t.Fatal(err)
		}
		bodies := query[[]byte](t, super, "select body from audit_logs where id > $1", before)
		if len(bodies) != 1 {
			t.Fatalf("%d audit rows, want 1", len(bodies))
		}
		r, err := audit.Decode(audit.EncodingVersion, bodies[0])
		if err != nil || r.Action != m.action || r.Actor != by || r.Target == "" && m.name != "Keysets: of the instance" {
			t.Errorf("recorded %+v, %v", r, err)
		}
		// The typed columns say what the proven bytes say.
		same := query[bool](t, super, `select event::text = $2 and org_id = $3::uuid and ts = $4 and action = $5 and target = $6 and actor = 'system:tester'
			from audit_logs where id > $1`, before, r.ID.UUID().String(), r.OrganizationID.UUID().String(), r.Time, string(r.Action), r.Target)
		if !same[0] {
			t.Error("a typed column differs from the body")
		}
	})
}

func TestMutationNeedsAnActor(t *testing.T) {
	forEachMutation(t, func(t *testing.T, w *world, m mutation, super *pgx.Conn, _ *faults) {
		before := dump(t, super)
		for _, nobody := range []audit.Actor{{}, {Kind: "root"}, {Kind: audit.KindAgent}} {
			if err := m.run(t.Context(), w, nobody); err == nil {
				t.Errorf("%+v was accepted", nobody)
			}
		}
		if diff := cmp.Diff(before, dump(t, super)); diff != "" {
			t.Error(diff)
		}
	})
}
