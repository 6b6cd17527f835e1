package postgres_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/signin"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// party is a relying party with a pushed request and a sign-in of the organization's agent.
type party struct {
	client     clients.Client
	credential clients.Credential
	pushed     signin.PushedRequest
	signIn     signin.SignIn
	document   signin.SignIn // to a client that is known by its document
}

// document is the client_id of a relying party of no organization.
const document = "https://apps.example/notes"

func (w *world) newClient(name string) clients.Client {
	return clients.Client{
		ID: agentid.New[agentid.Client](), OrganizationID: w.org.ID, Name: name, Type: clients.Web, Authentication: credentials.ClientSecretBasic,
		RedirectURIs: []string{"https://" + name + ".example/cb"}, RefreshTokens: true, CreatedAt: start, UpdatedAt: start, Version: 1,
	}
}

// newPushed has a key of its own.
func (w *world) newPushed(c string) signin.PushedRequest {
	id := uuid.New()
	return signin.PushedRequest{
		OrganizationID: w.org.ID, Client: c, Issuer: issuer, Key: [32]byte(slices.Concat(id[:], id[:])), Parameters: "state=" + w.org.Slug, ExpiresAt: start.Add(time.Minute),
	}
}

func (w *world) newSignIn(c string) signin.SignIn {
	return signin.SignIn{
		ID: agentid.New[agentid.SignIn](), OrganizationID: w.org.ID, Client: c, Agent: w.agent.ID, Credential: w.credential.ID, Issuer: issuer,
		Scopes: []string{"openid"}, Audience: []string{issuer}, Authentication: tokens.Authentication{At: issued.IssuedAt, Context: "c", Methods: []string{"m"}},
		Details: json.RawMessage(`[{"type":"x","n":1.50}]`), Nonce: "n", RedirectURI: "https://a.example/cb", CodeChallenge: "challenge", CodeHash: make([]byte, 32), CodeExpiresAt: start.Add(time.Minute),
		CreatedAt: start, ExpiresAt: start.Add(time.Hour),
	}
}

// newParty stores one of each.
func (w *world) newParty(t *testing.T, name string) *party {
	t.Helper()
	p := &party{client: w.newClient(name)}
	p.credential = newClientCredential(p.client.ID)
	if _, err := w.CreateClient(t.Context(), operator, p.client, &p.credential, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	p.pushed, p.signIn = w.newPushed(p.client.ClientID()), w.newSignIn(p.client.ClientID())
	p.document = w.newSignIn(document)
	if err := w.PushRequest(t.Context(), p.pushed); err != nil {
		t.Fatal(err)
	}
	for _, s := range []signin.SignIn{p.signIn, p.document} {
		if err := w.CreateSignIn(t.Context(), operator, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// signInProbes are the probes of relying parties and their sign-ins.
var signInProbes = map[string]probe{
	"Client": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		c, err := q.Client(ctx, orgdb.ClientParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.client.ID.UUID()})
		return c.ID != uuid.Nil, err
	},
	"ClientForUpdate": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		c, err := q.ClientForUpdate(ctx, orgdb.ClientForUpdateParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.client.ID.UUID()})
		return c.ID != uuid.Nil, err
	},
	"Clients": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		list, err := q.Clients(ctx, orgdb.ClientsParams{OrgID: mine.org.ID.UUID(), RowLimit: 100})
		return slices.ContainsFunc(list, func(c orgdb.Client) bool { return c.OrgID == theirs.org.ID.UUID() }), err
	},
	"UpdateClient": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.UpdateClient(ctx, orgdb.UpdateClientParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.client.ID.UUID(), Name: "stolen", Type: "web", Authentication: "none", RedirectUris: []string{}, Scopes: []string{}, Audiences: []string{}, UpdatedAt: start})
		return c.affected > 0, err
	},
	"DeleteClient": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.DeleteClient(ctx, orgdb.DeleteClientParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.client.ID.UUID()})
		return c.affected > 0, err
	},
	"PushedRequest": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		p, id := theirs.party.pushed, theirs.party.client.ID.UUID()
		found, err := q.PushedRequest(ctx, orgdb.PushedRequestParams{OrgID: mine.org.ID.UUID(), Key: p.Key[:], ClientID: &id, Issuer: issuer, At: start})
		return found != "", err
	},
	"UsePushedRequest": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.UsePushedRequest(ctx, orgdb.UsePushedRequestParams{OrgID: mine.org.ID.UUID(), Key: theirs.party.pushed.Key[:]})
		return n > 0, err
	},
	"ForgetPushedRequests": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		err := q.ForgetPushedRequests(ctx, orgdb.ForgetPushedRequestsParams{OrgID: mine.org.ID.UUID(), At: start.Add(time.Hour)})
		return c.affected > 1, err // mine is one
	},
	"SignIn": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		s, err := q.SignIn(ctx, orgdb.SignInParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.signIn.ID.UUID()})
		return s.ID != uuid.Nil, err
	},
	"SignedIn": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		id := theirs.party.client.ID.UUID()
		return q.SignedIn(ctx, orgdb.SignedInParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.party.signIn.Agent.UUID(), At: start.Add(-24 * time.Hour), ClientID: &id})
	},
	"SignInGood": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		s := theirs.party.signIn
		return q.SignInGood(ctx, orgdb.SignInGoodParams{OrgID: mine.org.ID.UUID(), AgentID: s.Agent.UUID(), CredentialID: s.Credential.UUID(), AuthenticatedAt: s.Authentication.At, At: start})
	},
	"ExtendSignIn": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.ExtendSignIn(ctx, orgdb.ExtendSignInParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.signIn.ID.UUID(), At: start, Until: start})
		return n > 0, err
	},
	"LockLiveSignIn": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.LockLiveSignIn(ctx, orgdb.LockLiveSignInParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.signIn.ID.UUID(), At: start})
		return n > 0, err
	},
	"LockClient": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.LockClient(ctx, orgdb.LockClientParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.client.ID.UUID()})
		return n > 0, err
	},
	"LockAgentsOfClient": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		ids, err := q.LockAgentsOfClient(ctx, orgdb.LockAgentsOfClientParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), At: start})
		return len(ids) > 0, err
	},
	"SignInsOfClientForUpdate": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		rows, err := q.SignInsOfClientForUpdate(ctx, orgdb.SignInsOfClientForUpdateParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), At: start})
		return len(rows) > 0, err
	},
	"SignInForUpdate": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		s, err := q.SignInForUpdate(ctx, orgdb.SignInForUpdateParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.signIn.ID.UUID()})
		return s.ID != uuid.Nil, err
	},
	"AdvanceSignIn": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.AdvanceSignIn(ctx, orgdb.AdvanceSignInParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.signIn.ID.UUID(), At: start, ExpiresAt: start, TokenIds: []string{}, TokenExpiries: []time.Time{}})
		return n > 0, err
	},
	"RevokeSignIn": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.RevokeSignIn(ctx, orgdb.RevokeSignInParams{OrgID: mine.org.ID.UUID(), ID: theirs.party.signIn.ID.UUID(), At: start})
		return c.affected > 0, err
	},
	"ForgetSignIns": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		err := q.ForgetSignIns(ctx, orgdb.ForgetSignInsParams{OrgID: mine.org.ID.UUID(), At: start.Add(2 * time.Hour)})
		return c.affected > 2, err // mine are two
	},
}

// signInInserts are the inserts of relying parties and their sign-ins.
var signInInserts = map[string]func(ctx context.Context, q *orgdb.Queries, theirs *world) error{
	"InsertClient": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertClient(ctx, orgdb.InsertClientParams{OrgID: theirs.org.ID.UUID(), ID: uuid.New(), Name: "planted", Type: "web", Authentication: "none", RedirectUris: []string{}, Scopes: []string{}, Audiences: []string{}})
	},
	"InsertPushedRequest": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		id := theirs.party.client.ID.UUID()
		return q.InsertPushedRequest(ctx, orgdb.InsertPushedRequestParams{OrgID: theirs.org.ID.UUID(), Key: make([]byte, 32), ClientID: &id})
	},
	"InsertSignIn": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		id := theirs.party.client.ID.UUID()
		return q.InsertSignIn(ctx, orgdb.InsertSignInParams{
			OrgID: theirs.org.ID.UUID(), ID: uuid.New(), ClientID: &id, AgentID: theirs.agent.ID.UUID(), CodeHash: make([]byte, 32),
			Scopes: []string{}, Audience: []string{}, AuthenticationMethods: []string{},
		})
	},
}

// allProbes are those of every table.
func allProbes() map[string]probe {
	all := maps.Clone(probes)
	maps.Copy(all, signInProbes)
	maps.Copy(all, clientCredentialProbes)
	maps.Copy(all, tokenProbes)
	maps.Copy(all, registrationProbes)
	return all
}

// allInserts are those of every table.
func allInserts() map[string]func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
	all := maps.Clone(inserts)
	maps.Copy(all, signInInserts)
	maps.Copy(all, clientCredentialInserts)
	maps.Copy(all, tokenInserts)
	maps.Copy(all, registrationInserts)
	return all
}

// A sign-in moves from a state it is in: not twice from the same, not once it was revoked or is over.
func TestSignInAdvancesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	step := func(in signin.SignIn, was, next []byte) error {
		i := w.issuance()
		i.SignIn = &issuance.SignInStep{ID: in.ID, Was: was, Next: next, ExpiresAt: start.Add(time.Hour), NextExpiresAt: start.Add(time.Hour)}
		return w.RecordTokenIssued(t.Context(), operator, i)
	}
	wantUsed := func(what string, err error) {
		t.Helper()
		if used, ok := issuance.AsUsed(err); !ok || used.Purpose != issuance.UseSignIn {
			t.Errorf("%s: %v", what, err)
		}
	}
	first, second := slices.Repeat([]byte{1}, 32), slices.Repeat([]byte{2}, 32)
	in := w.party.signIn
	wantUsed("a refresh token before the code", step(in, first, second))
	if err := step(in, nil, first); err != nil {
		t.Fatal(err)
	}
	wantUsed("the code again", step(in, nil, second))
	if err := step(in, first, second); err != nil {
		t.Fatal(err)
	}
	wantUsed("a refresh token that was replaced", step(in, first, second))
	if err := w.RevokeSignIn(t.Context(), operator, w.org.ID, in.ID, "tested"); err != nil {
		t.Fatal(err)
	}
	wantUsed("after the end", step(in, second, first))
	if n := len(w.issued(t, w.org.ID)); n != 2 {
		t.Errorf("%d tokens on record, want 2", n)
	}

	late := w.newSignIn(w.party.client.ClientID())
	if err := w.CreateSignIn(t.Context(), operator, late, nil); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Hour)
	wantUsed("too late", step(late, nil, first))
}

// What is over is taken away by what comes later, and a pushed request is used by one sign-in.
func TestSignInsAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	if err := w.CreateSignIn(t.Context(), operator, w.newSignIn(w.party.client.ClientID()), &w.party.pushed.Key); err != nil {
		t.Fatal(err)
	}
	err := w.CreateSignIn(t.Context(), operator, w.newSignIn(w.party.client.ClientID()), &w.party.pushed.Key)
	if used, ok := issuance.AsUsed(err); !ok || used.Purpose != issuance.UsePushedRequest {
		t.Errorf("%v", err)
	}
	if err := w.PushRequest(t.Context(), w.newPushed(w.party.client.ClientID())); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(3 * time.Minute)
	latest := w.newPushed(w.party.client.ClientID())
	latest.ExpiresAt = w.clock.Now().Add(time.Minute)
	if err := w.PushRequest(t.Context(), latest); err != nil {
		t.Fatal(err)
	}
	super := w.db.Superuser(t)
	if n := query[int64](t, super, "select count(*) from pushed_requests")[0]; n != 1 {
		t.Errorf("%d pushed requests, want the last", n)
	}
	w.clock.Advance(time.Hour)
	credential, _, err := w.agents.CreateCredential(t.Context(), operator, w.agent.ID, 0) // the first has expired
	if err != nil {
		t.Fatal(err)
	}
	last := w.newSignIn(w.party.client.ClientID())
	last.Credential, last.ExpiresAt = credential.ID, last.ExpiresAt.Add(24*time.Hour)
	if err := w.CreateSignIn(t.Context(), operator, last, nil); err != nil {
		t.Fatal(err)
	}
	if n := query[int64](t, super, "select count(*) from sign_ins")[0]; n != 1 {
		t.Errorf("%d sign-ins, want the last", n)
	}
}
