package signin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/presented"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world has one client and one agent, whose token was issued a while ago.
type world struct {
	Store
	client clients.Client
	token  presented.Token
	stored []SignIn
}

func (w *world) Find(context.Context, issuers.Issuer, string) (clients.Client, error) {
	return w.client, nil
}

func (w *world) Check(*http.Request, string, string, string) (*presented.Token, error) {
	t := w.token
	return &t, nil
}

func (w *world) CreateSignIn(_ context.Context, _ audit.Actor, s SignIn, _ *[32]byte) error {
	w.stored = append(w.stored, s)
	return nil
}

func (w *world) SignedIn(_ context.Context, _ agentid.Organization, _ string, _ agentid.Agent, at time.Time) (bool, error) {
	return slices.ContainsFunc(w.stored, func(s SignIn) bool { return !s.Authentication.At.Before(at) }), nil
}

func newWorld(age time.Duration) *world {
	org := agentid.New[agentid.Organization]()
	agent := agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: org}
	return &world{
		client: clients.Client{ID: agentid.New[agentid.Client](), OrganizationID: org, RedirectURIs: []string{"https://a.example/cb"}},
		token:  presented.Token{Agent: agent, ClientID: agent.ID.String(), CredentialKind: "client_secret", IssuedAt: now.Add(-age)},
	}
}

func (w *world) follow(t *testing.T, change ...string) *httptest.ResponseRecorder {
	t.Helper()
	secrets, err := NewSecrets(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	e := New(Config{RelyingParties: w, Presented: w, Store: w, Secrets: secrets, Now: func() time.Time { return now }})
	values := url.Values{
		"client_id": {"x"}, "redirect_uri": {"https://a.example/cb"}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"},
	}
	for n := 0; n+1 < len(change); n += 2 {
		values.Set(change[n], change[n+1])
	}
	r := httptest.NewRequest("GET", "/oauth2/authorize?"+values.Encode(), nil)
	r.Header.Set("Authorization", "Bearer x")
	recorder := httptest.NewRecorder()
	e.Authorize(recorder, r.WithContext(issuers.With(r.Context(), issuers.Issuer{ID: "https://id.example"})))
	return recorder
}

// An authentication that is too old for what is asked is told to the agent (RFC 9470 s3), or to the client when nobody shall be asked; and only then.
func TestAgeOfAuthentication(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		age    time.Duration
		change []string
		want   string // in the answer: a code, an error at the client, a challenge
	}{
		{"any age", time.Hour, nil, "code="},
		{"young enough", 30 * time.Second, []string{"max_age", "30"}, "code="},
		{"one second too old", 31 * time.Second, []string{"max_age", "30"}, `max_age="30"`},
		{"login, a moment ago", time.Minute, []string{"prompt", "login"}, "code="},
		{"login, earlier", 61 * time.Second, []string{"prompt", "login"}, `max_age="60"`},
		{"login within less", 40 * time.Second, []string{"prompt", "login", "max_age", "30"}, `max_age="30"`},
		{"login within more", 61 * time.Second, []string{"prompt", "login", "max_age", "300"}, `max_age="60"`},
		{"max_age 0 is login", 61 * time.Second, []string{"max_age", "0"}, `max_age="60"`},
		{"nobody to be asked", time.Minute, []string{"max_age", "30", "prompt", "none"}, "error=login_required"},
	} {
		w := newWorld(tt.age)
		a := w.follow(t, tt.change...)
		text := a.Header().Get("Location") + a.Header().Get("WWW-Authenticate")
		if !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s, want %s", tt.name, a.Code, text, tt.want)
		}
		if again := w.follow(t, tt.change...).Header().Get("WWW-Authenticate"); strings.Contains(tt.name, "login, a moment ago") && !strings.Contains(again, `max_age="0"`) {
			t.Errorf("%s: the same login again: %s", tt.name, again)
		}
		if issued := len(w.stored) > 0; issued != (tt.want == "code=") {
			t.Errorf("%s: %d sign-ins", tt.name, len(w.stored))
		}
	}
}

// Possession that is proven in the request is an authentication of this moment.
func TestPossessionIsFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour)
	w.token.Held = true
	w.follow(t, "prompt", "login")
	if len(w.stored) != 1 || !w.stored[0].Authentication.At.Equal(now) || w.stored[0].Authentication.Context != ContextPossession {
		t.Errorf("%+v", w.stored)
	}
}

// Each answer adds to a query that is there, and gives nothing away of another kind.
func TestRedirect(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"https://a.example/cb":       "https://a.example/cb?code=c&iss=https%3A%2F%2Fid.example&state=%26%3D",
		"https://a.example/cb?x=%26": "https://a.example/cb?x=%26&code=c&iss=https%3A%2F%2Fid.example&state=%26%3D",
		"com.example.app:/cb":        "com.example.app:/cb?code=c&iss=https%3A%2F%2Fid.example&state=%26%3D",
	} {
		w := httptest.NewRecorder()
		redirect{target, "&=", "https://id.example"}.send(w, httptest.NewRequest("POST", "/", nil), "code", "c")
		if got := w.Header().Get("Location"); got != want || w.Code != http.StatusSeeOther {
			t.Errorf("%d %s, want %s", w.Code, got, want)
		}
	}
}

// Only what this key made is opened, and only as what it was made for.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s, _ := NewSecrets(make([]byte, 32))
	other, _ := NewSecrets([]byte(strings.Repeat("k", 32)))
	id := agentid.New[agentid.SignIn]()
	text, hash := s.issue(codePrefix, id)
	again, _ := s.issue(codePrefix, id)
	if got, h, ok := s.open(codePrefix, text); !ok || got != id || string(h) != string(hash) || again == text {
		t.Errorf("%v %v %v", got, ok, again == text)
	}
	refresh, _ := s.issue(refreshPrefix, id)
	foreign, _ := other.issue(codePrefix, id)
	for name, bad := range map[string]string{
		"empty": "", "another kind": refresh, "its prefix changed": codePrefix + strings.TrimPrefix(refresh, refreshPrefix), "another key": foreign,
		"shorter": text[:len(text)-1], "longer": text + "A", "changed": text[:20] + "A" + text[21:] + "", "padded": text + "=",
	} {
		if bad == text {
			continue // the character was an A already
		}
		if _, _, ok := s.open(codePrefix, bad); ok {
			t.Errorf("%s was opened", name)
		}
	}
	if _, err := NewSecrets(make([]byte, 31)); err == nil {
		t.Error("a short key")
	}
}
