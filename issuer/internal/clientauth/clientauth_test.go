package clientauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// store answers the one query of an authentication and counts it. Everything else of the interface is not used.
type store struct {
	agents.Store
	agent   agents.Agent
	hashes  []credentials.Registered
	err     error
	queries int
}

func (s *store) ClientForAuthentication(_ context.Context, id agentid.Agent, _ time.Time) (agents.Agent, []credentials.Registered, error) {
	s.queries++
	if s.err != nil {
		return agents.Agent{}, nil, s.err
	}
	if id != s.agent.ID {
		return agents.Agent{}, nil, &problem.Error{Kind: problem.NotFound}
	}
	return s.agent, s.hashes, nil
}

func (s *store) CreateCredential(_ context.Context, _ audit.Actor, c agents.Credential, hash []byte) (agents.Credential, error) {
	s.hashes = append(s.hashes, credentials.Registered{Credential: c.ID, Hash: hash})
	return c, nil
}

const issuerID = "https://id.example.com"

// open is a gate that lets everybody in.
type open struct{}

func (open) Admit(context.Context, string) error                               { return nil }
func (open) Failed(context.Context, string)                                    {}
func (open) Authenticated(context.Context, string, agentid.Organization) error { return nil }

// fixture is an Authenticator over the real service with one agent.
type fixture struct {
	store  *store
	auth   *clientauth.AgentAuthenticator
	id     string
	secret string
	agents.Credential
}

func setup(t *testing.T) fixture {
	t.Helper()
	s := &store{agent: agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: agentid.New[agentid.Organization](), Status: agents.Active}}
	service, err := agents.NewService(s, []byte(strings.Repeat("k", 32)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	credential, secret, err := service.CreateCredential(t.Context(), audit.Actor{Kind: "bootstrap"}, s.agent.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{s, clientauth.NewAgentAuthenticator(service, clientauth.Trust{Now: time.Now}, open{}), s.agent.ID.String(), secret, credential}
}

func (f fixture) authenticate(t *testing.T, form url.Values, header ...string) (clientauth.AuthenticatedAgent, *oauth.Error) {
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
	client, err := f.auth.Authenticate(r.WithContext(issuers.With(r.Context(), issuers.Issuer{ID: issuerID})), parsed)
	failure, ok := errors.AsType[*oauth.Error](err)
	if err != nil && !ok {
		t.Fatalf("%T", err)
	}
	return client, failure
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func TestMethods(t *testing.T) {
	t.Parallel()
	f := setup(t)
	post := url.Values{"client_id": {f.id}, "client_secret": {f.secret}}
	escaped := strings.Replace(url.QueryEscape(f.secret), "_", "%5F", 1) // RFC 6749 s2.3.1: form-urlencoded before base64
	for name, tt := range map[string]struct {
		form   url.Values
		header []string
		method credentials.Method
	}{
		"basic":                  {nil, []string{basic(f.id, f.secret)}, credentials.ClientSecretBasic},
		"basic, escaped":         {nil, []string{basic(f.id, escaped)}, credentials.ClientSecretBasic},
		"basic, lower case":      {nil, []string{strings.Replace(basic(f.id, f.secret), "Basic", "basic", 1)}, credentials.ClientSecretBasic},
		"basic and the same id":  {url.Values{"client_id": {f.id}}, []string{basic(f.id, f.secret)}, credentials.ClientSecretBasic},
		"basic and empty secret": {url.Values{"client_secret": {""}}, []string{basic(f.id, f.secret)}, credentials.ClientSecretBasic}, // RFC 6749 s3.2: no value is as absent
		"post":                   {post, nil, credentials.ClientSecretPost},
	} {
		client, err := f.authenticate(t, tt.form, tt.header...)
		if err != nil || client.Method != tt.method || client.Agent.ID.String() != f.id || client.Credential != f.ID {
			t.Errorf("%s: %+v, %v", name, client, err)
		}
	}
}

// A client that does not exist costs what a wrong secret costs: one query and the same hashing (agents.Service). The times are logged, not asserted:
// on a busy machine they prove nothing, the work does.
func TestUnknownClientIsTheSameWork(t *testing.T) {
	t.Parallel()
	f := setup(t)
	attempts := map[string]string{
		"wrong secret":   basic(f.id, "aidp_wrong"),
		"unknown client": basic(agentid.New[agentid.Agent]().String(), "aidp_wrong"),
		"impossible id":  basic("nobody", "aidp_wrong"),
	}
	const rounds = 400
	times := map[string][]time.Duration{}
	var first *oauth.Error
	for range rounds {
		for name, header := range attempts {
			before, start := f.store.queries, time.Now()
			_, err := f.authenticate(t, nil, header)
			times[name] = append(times[name], time.Since(start))
			if queries := f.store.queries - before; queries != 1 {
				t.Fatalf("%s: %d queries", name, queries)
			}
			if first == nil {
				first = err
			}
			if err == nil || *err != *first || err.Code != oauth.InvalidClient {
				t.Fatalf("%s: %+v, want %+v", name, err, first)
			}
		}
	}
	for name, took := range times {
		slices.Sort(took)
		t.Logf("%-14s median %s", name, took[rounds/2])
	}
}

// Only an authentication that failed is told as one: an outage is an outage, and everything else is ours.
func TestStoreFailures(t *testing.T) {
	t.Parallel()
	for code, err := range map[oauth.Code]error{
		oauth.TemporarilyUnavailable: &problem.Error{Kind: problem.Unavailable, Err: errors.New("connection refused")},
	} {
		f := setup(t)
		f.store.err = err
		if _, got := f.authenticate(t, nil, basic(f.id, f.secret)); got == nil || got.Code != code || got.Status != http.StatusServiceUnavailable || !errors.Is(got, err) {
			t.Errorf("%s: %v", code, got)
		}
	}
}

type failing struct {
	clientauth.Agents
	err error
}

func (f failing) AuthenticateSecret(context.Context, string, string) (agents.Agent, agentid.Credential, error) {
	return agents.Agent{}, agentid.Credential{}, f.err
}

func TestUnclassifiedFailureIsOurs(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/", nil)
	r.SetBasicAuth("a", "b")
	_, err := clientauth.NewAgentAuthenticator(failing{err: errors.New("bug")}, clientauth.Trust{}, open{}).Authenticate(r, oauth.Form{})
	if failure, ok := errors.AsType[*oauth.Error](err); !ok || failure.Code != oauth.ServerError {
		t.Errorf("%v", err)
	}
}

// A request that proves nothing costs no query.
func TestMalformedProofsAreNotLookedUp(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for name, header := range map[string]string{
		"long secret": basic(f.id, strings.Repeat("a", 257)), "empty secret": basic(f.id, ""), "no base64": "Basic %", "no colon": "Basic YQ==",
		"another scheme": "Digest a", "trailing bits": "Basic YTpiZ",
	} {
		if _, err := f.authenticate(t, nil, header); err == nil || err.Code != oauth.InvalidClient {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.store.queries != 0 {
		t.Errorf("%d queries", f.store.queries)
	}
}
