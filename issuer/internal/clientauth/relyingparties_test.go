package clientauth_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// partyStore has one relying party, and notes what it is asked.
type partyStore struct {
	clients.Store
	client     clients.Client
	registered []credentials.Registered
	asked      []string
	usedErr    error
}

func (s *partyStore) CreateClient(_ context.Context, _ audit.Actor, c clients.Client, first *clients.Credential, hash []byte) (clients.Client, error) {
	s.client = c
	if first != nil {
		s.registered = []credentials.Registered{{Credential: first.ID, Kind: first.Kind, Hash: hash, Registration: first.Registration}}
	}
	return c, nil
}

func (s *partyStore) RelyingPartyForAuthentication(_ context.Context, id agentid.Client, _ time.Time) (clients.Client, []credentials.Registered, error) {
	s.asked = append(s.asked, "authentication")
	if id != s.client.ID {
		return clients.Client{}, nil, &problem.Error{Kind: problem.NotFound}
	}
	return s.client, append([]credentials.Registered{}, s.registered...), nil
}

func (s *partyStore) ClientCredentialUsed(_ context.Context, _ clients.Client, id agentid.Credential, at time.Time) error {
	s.asked = append(s.asked, "used")
	for n := range s.registered {
		if s.registered[n].Credential == id {
			s.registered[n].LastUsedAt = at
		}
	}
	return s.usedErr
}

func (s *partyStore) UseUp(context.Context, agentid.Organization, issuance.SingleUse) error {
	s.asked = append(s.asked, "use up")
	return nil
}

func (s *partyStore) Client(_ context.Context, id agentid.Client) (clients.Client, error) {
	s.asked = append(s.asked, "client")
	if id != s.client.ID {
		return clients.Client{}, &problem.Error{Kind: problem.NotFound}
	}
	return s.client, nil
}

// partyFixture is both kinds of clients over the real services, with one relying party.
type partyFixture struct {
	*partyStore
	clients clientauth.Clients
	secret  string
	now     *time.Time
}

func setupParty(t *testing.T, by credentials.Method, r credentials.Registration) partyFixture {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 20, 0, time.UTC)
	f := partyFixture{partyStore: &partyStore{}, now: &now}
	agentsOf := setup(t)
	service, err := clients.NewService(f.partyStore, []byte(strings.Repeat("k", 32)), func() time.Time { return *f.now })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, f.secret, err = service.Create(t.Context(), audit.Actor{}, clients.Client{
		OrganizationID: agentid.New[agentid.Organization](), Name: "a", Type: clients.Web, Authentication: by, RedirectURIs: []string{"https://a.example/cb"},
	}, r); err != nil {
		t.Fatal(err)
	}
	f.clients = clientauth.Clients{Agents: agentsOf.auth, RelyingParties: clientauth.NewRelyingPartyAuthenticator(service, f.partyStore, clientauth.Trust{Now: time.Now}, open{}, nil)}
	return f
}

func (f *partyFixture) authenticate(t *testing.T, issuer issuers.Issuer, form url.Values, header ...string) (clientauth.Sender, *oauth.Error) {
	t.Helper()
	r := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, h := range header {
		r.Header.Add("Authorization", h)
	}
	parsed, err := oauth.ReadForm(r)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := f.clients.Authenticate(r.WithContext(issuers.With(r.Context(), issuer)), parsed)
	failure, ok := errors.AsType[*oauth.Error](err)
	if err != nil && !ok {
		t.Fatalf("%T", err)
	}
	return sender, failure
}

// Whether there is such a relying party, and what it is registered for, changes neither the answer nor what was asked of the store.
func TestUnknownRelyingPartyIsTheSameWork(t *testing.T) {
	t.Parallel()
	here := issuers.Issuer{ID: issuerID}
	keys := credentials.Registration{KeysURL: "https://keys.example/jwks"}
	bySecret, byKey, public := setupParty(t, credentials.ClientSecretBasic, credentials.Registration{}), setupParty(t, credentials.PrivateKeyJWT, keys), setupParty(t, credentials.None, credentials.Registration{})
	unknown := agentid.New[agentid.Client]().String()
	for name, tt := range map[string]struct {
		f      partyFixture
		form   url.Values
		header string
	}{
		"a wrong secret":           {bySecret, nil, basic(bySecret.client.ClientID(), "aidp_wrong")},
		"an unknown client":        {bySecret, nil, basic(unknown, "aidp_wrong")},
		"an id of no client":       {bySecret, nil, basic("cli_nobody", "aidp_wrong")},
		"its secret, posted":       {bySecret, url.Values{"client_id": {bySecret.client.ClientID()}, "client_secret": {bySecret.secret}}, ""},
		"a secret, by key":         {byKey, nil, basic(byKey.client.ClientID(), "aidp_wrong")},
		"a secret of a public one": {public, nil, basic(public.client.ClientID(), "aidp_wrong")},
	} {
		var headers []string
		if tt.header != "" {
			headers = []string{tt.header}
		}
		tt.f.asked = nil
		sender, err := tt.f.authenticate(t, here, tt.form, headers...)
		if err == nil || err.Code != oauth.InvalidClient || err.Description != "Client authentication failed." || sender.RelyingParty != nil {
			t.Errorf("%s: %+v %v", name, sender, err)
		}
		if diff := cmp.Diff([]string{"authentication"}, tt.f.asked); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, id := range map[string]string{"a known client": bySecret.client.ClientID(), "an unknown one": unknown} {
		if _, err := bySecret.authenticate(t, here, url.Values{"client_id": {id}}); err == nil || err.Code != oauth.InvalidClient || err.Description != "The client must authenticate." {
			t.Errorf("%s with no proof: %v", name, err)
		}
	}
}

// The one with the secret, and the one that needs none; each at its issuers and nowhere else. The last use is written once a minute.
func TestRelyingParties(t *testing.T) {
	t.Parallel()
	here := issuers.Issuer{ID: issuerID}
	f, public := setupParty(t, credentials.ClientSecretBasic, credentials.Registration{}), setupParty(t, credentials.None, credentials.Registration{})
	for range 2 {
		sender, err := f.authenticate(t, here, nil, basic(f.client.ClientID(), f.secret))
		if err != nil || sender.RelyingParty == nil || sender.RelyingParty.ID != f.client.ID || sender.Method != credentials.ClientSecretBasic {
			t.Fatalf("%+v %v", sender, err)
		}
	}
	*f.now = f.now.Add(time.Minute)
	if _, err := f.authenticate(t, here, nil, basic(f.client.ClientID(), f.secret)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"authentication", "used", "authentication", "authentication", "used"}, f.asked); diff != "" {
		t.Error(diff)
	}
	*f.now, f.usedErr = f.now.Add(time.Minute), &problem.Error{Kind: problem.Unavailable}
	if _, err := f.authenticate(t, here, nil, basic(f.client.ClientID(), f.secret)); err == nil || err.Code != oauth.TemporarilyUnavailable {
		t.Errorf("a use that cannot be noted: %v", err)
	}
	sender, err := public.authenticate(t, here, url.Values{"client_id": {public.client.ClientID()}})
	if err != nil || sender.RelyingParty == nil || !sender.RelyingParty.Public() || sender.Method != credentials.None {
		t.Errorf("%+v %v", sender, err)
	}
	f.usedErr = nil
	elsewhere := issuers.Issuer{ID: issuerID + "/o/other", Organization: agentid.New[agentid.Organization]()}
	if sender, err := f.authenticate(t, elsewhere, nil, basic(f.client.ClientID(), f.secret)); err == nil || err.Code != oauth.InvalidClient || sender.RelyingParty != nil {
		t.Errorf("at another organization's issuer: %+v %v", sender, err)
	}
	if sender, err := public.authenticate(t, elsewhere, url.Values{"client_id": {public.client.ClientID()}}); err == nil || err.Code != oauth.InvalidClient || sender.RelyingParty != nil {
		t.Errorf("a public one at another organization's issuer: %+v %v", sender, err)
	}
}
