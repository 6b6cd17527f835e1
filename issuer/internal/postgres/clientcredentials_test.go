package postgres_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

func newClientCredential(c agentid.Client) clients.Credential {
	return clients.Credential{ID: agentid.New[agentid.Credential](), ClientID: c, Kind: credentials.KindClientSecret, CreatedAt: start}
}

// clientCredentialProbes are the probes of relying parties' credentials.
var clientCredentialProbes = map[string]probe{
	"InsertClientSuccessor": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		c, err := q.InsertClientSuccessor(ctx, orgdb.InsertClientSuccessorParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), OldID: theirs.party.credential.ID.UUID(), Kind: "client_secret", ID: uuid.New(), SecretHash: make([]byte, 32), CreatedAt: start})
		return c.ID != uuid.Nil, err
	},
	"ClientCredentials": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		list, err := q.ClientCredentials(ctx, orgdb.ClientCredentialsParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID()})
		return len(list) > 0, err
	},
	"CountUnexpiredClientCredentials": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.CountUnexpiredClientCredentials(ctx, orgdb.CountUnexpiredClientCredentialsParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), At: start})
		return n > 0, err
	},
	"ClientCredentialExists": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		return q.ClientCredentialExists(ctx, orgdb.ClientCredentialExistsParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), ID: theirs.party.credential.ID.UUID()})
	},
	"ClientHasCredentials": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		return q.ClientHasCredentials(ctx, orgdb.ClientHasCredentialsParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID()})
	},
	"ExpireClientCredential": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.ExpireClientCredential(ctx, orgdb.ExpireClientCredentialParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), ID: theirs.party.credential.ID.UUID(), ExpiresAt: start, At: start})
		return n > 0, err
	},
	"DeleteClientCredential": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.DeleteClientCredential(ctx, orgdb.DeleteClientCredentialParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), ID: theirs.party.credential.ID.UUID()})
		return n > 0, err
	},
	"ClientCredentialUsed": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.ClientCredentialUsed(ctx, orgdb.ClientCredentialUsedParams{OrgID: mine.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), ID: theirs.party.credential.ID.UUID(), At: start})
		return c.affected > 0, err
	},
}

var clientCredentialInserts = map[string]func(ctx context.Context, q *orgdb.Queries, theirs *world) error{
	"InsertClientCredential": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		_, err := q.InsertClientCredential(ctx, orgdb.InsertClientCredentialParams{OrgID: theirs.org.ID.UUID(), ClientID: theirs.party.client.ID.UUID(), ID: uuid.New(), Kind: "client_secret", SecretHash: make([]byte, 32), CreatedAt: start})
		return err
	},
}

// partyService is the service of relying parties over a world.
func (w *world) partyService(t *testing.T) *clients.Service {
	t.Helper()
	s, err := clients.NewService(w.Store, make([]byte, 32), w.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClientCredentialLifeCycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	s, ctx := w.partyService(t), t.Context()
	c, first, secret, err := s.Create(ctx, operator, clients.Client{
		OrganizationID: w.org.ID, Name: "dashboard", Type: clients.Web, Authentication: credentials.ClientSecretBasic, RedirectURIs: []string{"https://a.example/cb"},
	}, credentials.Registration{})
	if err != nil || first == nil || secret == "" {
		t.Fatalf("%+v %v", first, err)
	}
	works := func(what, secret string, method credentials.Method, want agentid.Credential) {
		t.Helper()
		got, id, err := s.AuthenticateSecret(ctx, c.ClientID(), secret, method)
		if want.IsZero() {
			if err != credentials.ErrAuthentication || !id.IsZero() || !got.ID.IsZero() { //nolint:errorlint // nothing more is said
				t.Errorf("%s: %v %v", what, id, err)
			}
			return
		}
		if err != nil || id != want || got.ID != c.ID || got.OrganizationID != w.org.ID || !slices.Equal(got.RedirectURIs, c.RedirectURIs) {
			t.Errorf("%s: %+v %v %v", what, got, id, err)
		}
	}
	var nobody agentid.Credential
	works("the secret", secret, credentials.ClientSecretBasic, first.ID)
	works("the secret by another method", secret, credentials.ClientSecretPost, nobody)
	works("a wrong secret", credentials.SecretPrefix+"wrong", credentials.ClientSecretBasic, nobody)

	w.clock.Advance(90 * time.Second)
	second, secondSecret, err := s.RotateCredential(ctx, operator, *first, credentials.Registration{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	works("the old one while both work", secret, credentials.ClientSecretBasic, first.ID)
	works("the new one", secondSecret, credentials.ClientSecretBasic, second.ID)
	_, _, err = s.CreateCredential(ctx, operator, c.ID, credentials.KindClientSecret, credentials.Registration{}, 0)
	wantProblem(t, "a third", err, problem.Conflict, "too_many_credentials")
	listed, err := s.Credentials(ctx, c.ID)
	if err != nil || len(listed) != 2 || listed[0].ID != first.ID || !listed[0].ExpiresAt.Equal(second.CreatedAt.Add(time.Hour)) ||
		!listed[0].LastUsedAt.Equal(start.Add(90*time.Second).Truncate(time.Minute)) || listed[1].LastUsedAt.IsZero() {
		t.Errorf("%+v %v", listed, err)
	}
	w.clock.Advance(2 * time.Hour)
	works("the old one after the overlap", secret, credentials.ClientSecretBasic, nobody)
	_, _, err = s.RotateCredential(ctx, operator, *first, credentials.Registration{}, 0)
	wantProblem(t, "rotate one that ended", err, problem.Conflict, "credential_expired")

	byKey := credentials.PrivateKeyJWT
	keys := credentials.Registration{KeysURL: "https://keys.example/jwks"}
	_, _, err = s.CreateCredential(ctx, operator, c.ID, byKey.Kind(), keys, 0)
	wantProblem(t, "one of another kind", err, problem.Conflict, "authentication_kind")
	change := func(c *clients.Client) { c.Authentication = byKey }
	_, err = s.Update(ctx, operator, c.ID, 0, change)
	wantProblem(t, "another method while there are secrets", err, problem.Conflict, "credentials_of_other_kind")
	for _, id := range []agentid.Credential{first.ID, second.ID} {
		if err := s.DeleteCredential(ctx, operator, c.ID, id); err != nil {
			t.Fatal(err)
		}
	}
	wantProblem(t, "delete again", s.DeleteCredential(ctx, operator, c.ID, first.ID), problem.NotFound, "credential_not_found")
	works("a deleted one", secondSecret, credentials.ClientSecretBasic, nobody)
	if _, err := s.Update(ctx, operator, c.ID, 0, change); err != nil {
		t.Fatal(err)
	}
	third, noSecret, err := s.CreateCredential(ctx, operator, c.ID, byKey.Kind(), keys, time.Hour)
	if err != nil || noSecret != "" {
		t.Fatal(err)
	}
	_, registered, err := w.RelyingPartyForAuthentication(ctx, c.ID, w.clock.Now())
	if err != nil || len(registered) != 1 || registered[0].Credential != third.ID || registered[0].Registration.KeysURL != keys.KeysURL {
		t.Errorf("%+v %v", registered, err)
	}
	_, err = s.Credentials(ctx, agentid.New[agentid.Client]())
	wantProblem(t, "the credentials of nobody", err, problem.NotFound, "client_not_found")
}

// The look-up of a relying party that does not exist, and of one without a credential, returns a row of the usual shape; the store tells them apart.
func TestRelyingPartyLookUpAlwaysReturnsARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	bare := w.newClient("bare")
	bare.Authentication = credentials.None
	if _, err := w.CreateClient(t.Context(), operator, bare, nil, nil); err != nil {
		t.Fatal(err)
	}
	q := platformdb.New(w.db.Connect(t, w.db.PlatformDSN))
	for name, id := range map[string]agentid.Client{"known": w.party.client.ID, "none": bare.ID, "unknown": agentid.New[agentid.Client](), "impossible": {}} {
		row, err := q.RelyingPartyForAuthentication(t.Context(), platformdb.RelyingPartyForAuthenticationParams{ID: id.UUID(), At: start})
		if err != nil || len(row.CredentialIds) != 1 || len(row.SecretHashes) != 1 || len(row.SecretHashes[0]) != 32 || len(row.LastUsedAt) != 1 ||
			len(row.Registrations) != 1 || len(row.RedirectUris) != 1 || row.Name == "" || row.Authentication == "" {
			t.Errorf("%s: %+v, %v", name, row, err)
		}
	}
	got, registered, err := w.RelyingPartyForAuthentication(t.Context(), w.party.client.ID, start)
	if diff := cmp.Diff(w.read(t, w.party.client.ID), got, cmpopts.EquateComparable(agentid.Client{}, agentid.Organization{})); diff != "" || err != nil || len(registered) != 1 || registered[0].Credential != w.party.credential.ID {
		t.Errorf("%v %v\n%s", registered, err, diff)
	}
	if _, registered, err := w.RelyingPartyForAuthentication(t.Context(), bare.ID, start); err != nil || len(registered) != 0 {
		t.Errorf("none: %v %v", registered, err)
	}
	_, registered, err = w.RelyingPartyForAuthentication(t.Context(), agentid.New[agentid.Client](), start)
	wantProblem(t, "unknown", err, problem.NotFound, "client_not_found")
	if len(registered) != 0 {
		t.Error("the decoy left the store")
	}
}

func (w *world) read(t *testing.T, id agentid.Client) clients.Client {
	t.Helper()
	c, err := w.Client(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The secrets there are go on working: each becomes a credential with an id like any other, and row-level security is forced as before.
func TestClientSecretsBecomeCredentials(t *testing.T) {
	t.Parallel()
	pgtest.New(t) // the roles exist
	db := pgtest.NewEmpty(t)
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, 14); err != nil {
		t.Fatal(err)
	}
	super := db.Superuser(t)
	hash := bytes.Repeat([]byte{7}, 32)
	for _, org := range []string{"0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e51", "0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e52"} {
		exec(t, super, "insert into agentidp.organizations values ($1, $2, 'x', now(), now(), 1)", org, "o"+org[35:])
		for name, secret := range map[string][]byte{"with": hash, "without": nil} {
			authentication := "client_secret_post"
			if secret == nil {
				authentication = "none"
			}
			exec(t, super, `insert into agentidp.clients (org_id, id, name, type, authentication, secret_hash, redirect_uris, scopes, audiences, refresh_tokens, require_pushed, require_dpop, pkce_optional, created_at, updated_at, version)
				values ($1, gen_random_uuid(), $2, 'web', $3, $4, '{}', '{}', '{}', false, false, false, false, now(), now(), 1)`, org, name, authentication, secret)
		}
	}
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
		t.Fatal(err)
	}
	ids := query[uuid.UUID](t, super, `select k.id from agentidp.client_credentials k join agentidp.clients c on c.org_id = k.org_id and c.id = k.client_id
		where c.name = 'with' and k.kind = 'client_secret' and k.secret_hash = $1 and k.expires_at is null`, hash)
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("%v", ids)
	}
	for _, id := range ids {
		if _, err := agentid.Parse[agentid.Credential](agentid.FromUUID[agentid.Credential](id).String()); err != nil {
			t.Errorf("%v: %v", id, err)
		}
	}
	if n := query[int64](t, super, "select count(*) from agentidp.client_credentials")[0]; n != 2 {
		t.Errorf("%d credentials", n)
	}
	if forced := query[bool](t, super, "select relforcerowsecurity from pg_class where oid = 'agentidp.clients'::regclass")[0]; !forced {
		t.Error("row-level security of clients is not forced any more")
	}
}
