package grants_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// trail is every party of the endpoint, writing down what happens in which order.
type trail struct {
	clientauth.Agents
	steps      []string
	mintErr    error
	recordErr  error
	credential agentid.Credential // authenticated with
	authorized tokens.Authorization
	issuer     issuers.Issuer // addressed; the instance's when the test does not say
}

const secretToken = "canary.of.token"

func (l *trail) AuthenticateSecret(context.Context, string, string) (agents.Agent, agentid.Credential, error) {
	l.steps = append(l.steps, "authenticate")
	l.credential = agentid.New[agentid.Credential]()
	return agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: agentid.New[agentid.Organization](), Scopes: []string{"a", "b"}, Audiences: []string{"svc://1", "svc://2"}}, l.credential, nil
}

func (l *trail) Mint(a tokens.Authorization) (tokens.AccessToken, error) {
	l.steps = append(l.steps, "sign")
	l.authorized = a
	return tokens.AccessToken{Text: secretToken, Scope: strings.Join(a.Scopes, " "), ExpiresIn: time.Minute}, l.mintErr
}

func (l *trail) RecordTokenIssued(_ context.Context, _ audit.Actor, i issuance.Record) error {
	l.steps = append(l.steps, "record")
	for name, value := range i.Details {
		if s, _ := value.(string); strings.Contains(s, secretToken) {
			l.steps = append(l.steps, "the token is in the record as "+name)
		}
	}
	return l.recordErr
}

func (l *trail) UseUp(context.Context, agentid.Organization, issuance.SingleUse) error {
	l.steps = append(l.steps, "use")
	return nil
}

func (l *trail) config(registry *prometheus.Registry) grants.Config {
	proofs, err := dpop.New(make([]byte, 32), false)
	if err != nil {
		panic(err)
	}
	return grants.Config{Clients: clientauth.Clients{Agents: clientauth.NewAgentAuthenticator(l, clientauth.Trust{}, open{})}, Minter: l, Recorder: l, Proofs: proofs, Metrics: registry, Now: time.Now}
}

func (l *trail) grant(err error) grants.Grant {
	return grants.Grant{Type: "test", Authorize: func(_ context.Context, _ *grants.Request, a *tokens.Authorization) error {
		l.steps = append(l.steps, "authorize")
		a.Scopes = a.Scopes[:1]
		return err
	}}
}

func (l *trail) post(t *testing.T, grant grants.Grant, body string) (*httptest.ResponseRecorder, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	if l.issuer.ID == "" {
		l.issuer.ID = "https://id.example.com"
	}
	endpoint, err := grants.New(l.config(registry), grant)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("id", "secret")
	w := httptest.NewRecorder()
	endpoint.IssueToken(w, r.WithContext(issuers.With(r.Context(), l.issuer)))
	return w, registry
}

func TestStepsHappenInOrder(t *testing.T) {
	t.Parallel()
	var l trail
	w, registry := l.post(t, l.grant(nil), "grant_type=test&scope=b+a&resource=svc://2")
	if d := cmp.Diff([]string{"authenticate", "authorize", "sign", "record"}, l.steps); d != "" || w.Code != 200 {
		t.Errorf("%d %s (-want +got):\n%s", w.Code, w.Body, d)
	}
	if want := `{"access_token":"canary.of.token","token_type":"Bearer","expires_in":60,"scope":"b"}`; w.Body.String() != want {
		t.Errorf("%s, want %s", w.Body, want)
	}
	if l.authorized.Issuer.ID != "https://id.example.com" {
		t.Errorf("authorized by %q", l.authorized.Issuer.ID)
	}
	if !slices.Equal(l.authorized.Audience, []string{"svc://2"}) || l.authorized.Credential != l.credential {
		t.Errorf("authorized for %s with %s, authenticated with %s", l.authorized.Audience, l.authorized.Credential, l.credential)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP agentidp_issuer_tokens_issued_total Access tokens issued, by grant type.
# TYPE agentidp_issuer_tokens_issued_total counter
agentidp_issuer_tokens_issued_total{grant_type="test"} 1
`)); err != nil {
		t.Error(err)
	}
}

// Whatever fails, no token leaves, and no later step happens.
func TestNoTokenLeavesWhenAStepFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		trail    trail
		grantErr error
		body     string
		status   int
		code     string
		last     string
	}{
		{"another organization's issuer", trail{issuer: issuers.Issuer{ID: "https://id.example.com/o/b", Organization: agentid.New[agentid.Organization]()}}, nil, "grant_type=test", 401, "invalid_client", "authenticate"},
		{"grant not served", trail{}, nil, "grant_type=other", 400, "unsupported_grant_type", "authenticate"},
		{"scope", trail{}, nil, "grant_type=test&scope=c", 400, "invalid_scope", "authenticate"},
		{"resource", trail{}, nil, "grant_type=test&resource=svc://3", 400, "invalid_target", "authenticate"},
		{"the grant refuses", trail{}, &oauth.Error{Code: oauth.UnauthorizedClient}, "grant_type=test", 400, "unauthorized_client", "authorize"},
		{"the grant breaks", trail{}, errors.New("bug"), "grant_type=test", 500, "server_error", "authorize"},
		{"signing fails", trail{mintErr: errors.New("no key")}, nil, "grant_type=test", 500, "server_error", "sign"},
		{"suspended meanwhile", trail{recordErr: &problem.Error{Kind: problem.NotFound}}, nil, "grant_type=test", 401, "invalid_client", "record"},
		{"database gone", trail{recordErr: &problem.Error{Kind: problem.Unavailable}}, nil, "grant_type=test", 503, "temporarily_unavailable", "record"},
		{"record refused", trail{recordErr: errors.New("disk full")}, nil, "grant_type=test", 500, "server_error", "record"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := tt.trail
			w, registry := l.post(t, l.grant(tt.grantErr), tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), `"error":"`+tt.code+`"`) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.status, tt.code)
			}
			if strings.Contains(w.Body.String(), "canary") {
				t.Errorf("a token left: %s", w.Body)
			}
			if last := l.steps[len(l.steps)-1]; last != tt.last {
				t.Errorf("steps %v, want %s to be the last", l.steps, tt.last)
			}
			if n := testutil.CollectAndCount(registry, "agentidp_issuer_token_requests_refused_total"); n != 1 {
				t.Errorf("%d refusals counted", n)
			}
		})
	}
}

func TestEndpointRefusesBadGrants(t *testing.T) {
	t.Parallel()
	authorize := func(context.Context, *grants.Request, *tokens.Authorization) error { return nil }
	for name, served := range map[string][]grants.Grant{
		"twice": {grants.ClientCredentials(), grants.ClientCredentials()}, "no type": {{Authorize: authorize}}, "no hook": {{Type: "x"}},
	} {
		if _, err := grants.New((&trail{}).config(prometheus.NewRegistry()), served...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// open is a gate that lets everybody in.
type open struct{}

func (open) Admit(context.Context, string) error                               { return nil }
func (open) Failed(context.Context, string)                                    {}
func (open) Authenticated(context.Context, string, agentid.Organization) error { return nil }
