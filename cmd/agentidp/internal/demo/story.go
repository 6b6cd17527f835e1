package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/dev"
	"github.com/agentidp/agentidp/cmd/agentidp/internal/issuerclient"
)

const (
	stepWait = 30 * time.Second
	// refusalMax bounds how long a suspended agent's token may still work: the sidecar asks for the list each second, and a busy machine is slow.
	refusalMax = 5 * time.Second
	requests   = 20 // where one would prove little
)

// story is what the steps share: each builds on those before.
type story struct {
	stack  *dev.Stack
	client *issuerclient.Client
	edge   *edge
	agent  dev.Demo
	token  string
}

type step struct {
	name string
	run  func(context.Context) (result string, err error)
}

func newStory(stack *dev.Stack) (*story, error) {
	client, err := stack.Client()
	if err != nil {
		return nil, err
	}
	return &story{stack: stack, client: client, edge: newEdge(stack.EnvoyURL())}, nil
}

func (s *story) steps() []step {
	return []step{
		{"organization and agent created through the API", s.createAgent},
		{"token fetched with client credentials", s.fetchToken},
		{"GET with the token: 200, verified identity, forgeries gone", s.identityIsVerified},
		{"no token: 401 with WWW-Authenticate", s.noToken},
		{"scope missing: 403, problem+json with a decision id", s.scopeMissing},
		{"agent suspended: its token is refused, it gets no new one", s.suspend},
		{"agent reactivated: a new token is allowed", s.reactivate},
		{"credential deleted: its tokens are refused, others stay good", s.credentialDeleted},
		{"token given back: the edge refuses it, others stay good", s.tokenRevoked},
		{"issuer killed: requests are still allowed", s.issuerKilled},
		{"extauthz killed: 503, never 200, never 403", s.extauthzKilled},
		{"extauthz back, issuer still dead: allowed from last known good", s.extauthzBack},
		{"policy edited while running: the new one decides", s.policyEdited},
		{"a broken edit keeps the policy that was in force", s.policyBroken},
		{"the edit undone: allowed again", s.policyRestored},
	}
}

func (s *story) createAgent(ctx context.Context) (string, error) {
	var err error
	if s.agent, err = dev.CreateAgent(ctx, s.client, "story"); err != nil {
		return "", err
	}
	agent, err := s.client.Agent(ctx, s.agent.AgentID)
	if err != nil {
		return "", err
	}
	if agent.Status != "active" || agent.OrganizationID != s.agent.OrganizationID {
		return "", fmt.Errorf("the agent is %s in %s", agent.Status, agent.OrganizationID)
	}
	return s.agent.AgentID, nil
}

func (s *story) secret() issuerclient.Secret {
	return issuerclient.Secret{ClientID: s.agent.ClientID, ClientSecret: s.agent.ClientSecret}
}

func (s *story) newToken(ctx context.Context, scope string) (string, error) {
	t, err := s.client.Token(ctx, s.secret(), scope, s.agent.Audience)
	return t.AccessToken, err
}

func (s *story) fetchToken(ctx context.Context) (string, error) {
	t, err := s.client.Token(ctx, s.secret(), "orders:read", s.agent.Audience)
	if err != nil {
		return "", err
	}
	const lifetimeMax = 15 * 60
	if t.TokenType != "Bearer" || t.Scope != "orders:read" || t.ExpiresIn <= 0 || t.ExpiresIn > lifetimeMax {
		return "", fmt.Errorf("type %q, scope %q, expires in %d s", t.TokenType, t.Scope, t.ExpiresIn)
	}
	s.token = t.AccessToken
	return fmt.Sprintf("%s, %d bytes, scope %s, %d s", t.TokenType, len(t.AccessToken), t.Scope, t.ExpiresIn), nil
}

// forged is what a client would send to be someone else.
var forged = [][2]string{
	{"X-Agent-Id", "agt_forged"},
	{"x-agent-id", "agt_forged_twice"},
	{"X-Agent-Organization", "org_forged"},
	{"X-Agent-Scopes", "orders:forged"},
	{"X-Agent-Anything-Else", "forged"},
}

func (s *story) identityIsVerified(ctx context.Context) (string, error) {
	a, err := s.edge.ask(ctx, http.MethodGet, "/orders/42?x=1", s.token, forged...)
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", err
	}
	if a.seen.Method != http.MethodGet || a.seen.Path != "/orders/42" || a.seen.Query != "x=1" {
		return "", fmt.Errorf("the service saw %s %s?%s", a.seen.Method, a.seen.Path, a.seen.Query)
	}
	for name, want := range map[string]string{
		"x-agent-id": s.agent.AgentID, "x-agent-organization": s.agent.OrganizationID, "x-agent-client-id": s.agent.ClientID,
		"x-agent-issuer": s.stack.IssuerURL(), "x-agent-scopes": "orders:read", "x-agent-origin": "local",
	} {
		if got := a.seen.Values(name); !slices.Equal(got, []string{want}) {
			return "", fmt.Errorf("the service saw %s %q, want exactly %q", name, got, want)
		}
	}
	for _, h := range a.seen.Headers {
		if strings.Contains(h[1], "forged") || h[0] == "x-agent-anything-else" {
			return "", fmt.Errorf("the service saw the client's %s: %s", h[0], h[1])
		}
	}
	return fmt.Sprintf("the service saw x-agent-id %s once; none of %d forgeries", s.agent.AgentID, len(forged)), nil
}

// refused sends a request that must not reach the service.
func (s *story) refused(ctx context.Context, status int, method, path, token string) (*answer, error) {
	before := s.stack.Echo.Requests()
	a, err := s.edge.ask(ctx, method, path, token)
	if err != nil {
		return nil, err
	}
	if err := a.want(status); err != nil {
		return nil, err
	}
	if s.stack.Echo.Requests() != before {
		return nil, errors.New("refused, but the service saw it")
	}
	return a, nil
}

func (s *story) noToken(ctx context.Context) (string, error) {
	a, err := s.refused(ctx, http.StatusUnauthorized, http.MethodGet, "/orders/42", "")
	if err != nil {
		return "", err
	}
	challenge := a.header.Get("WWW-Authenticate")
	if !strings.HasPrefix(challenge, "Bearer") || strings.Contains(challenge, "error=") { // RFC 6750 section 3.1: no error code without a token
		return "", fmt.Errorf("WWW-Authenticate: %q", challenge)
	}
	return "WWW-Authenticate: " + challenge, nil
}

func (s *story) scopeMissing(ctx context.Context) (string, error) {
	a, err := s.refused(ctx, http.StatusForbidden, http.MethodPost, "/orders", s.token)
	if err != nil {
		return "", err
	}
	var problem struct {
		Status     int    `json:"status"`
		Code       string `json:"code"`
		DecisionID string `json:"decisionId"`
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
		return "", err
	}
	if kind := a.header.Get("Content-Type"); kind != "application/problem+json" || problem.Status != http.StatusForbidden || problem.Code != "insufficient_scope" || problem.DecisionID == "" {
		return "", fmt.Errorf("%s: %s", kind, a.body)
	}
	return fmt.Sprintf("%s, decision %s", problem.Code, problem.DecisionID), nil
}

func (s *story) suspend(ctx context.Context) (string, error) {
	if err := s.client.Suspend(ctx, s.agent.AgentID); err != nil {
		return "", err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, refusalMax)
	defer cancel()
	_, err := s.edge.until(ctx, http.StatusUnauthorized, []int{http.StatusOK}, func() (*answer, error) {
		return s.edge.ask(context.WithoutCancel(ctx), http.MethodGet, "/orders/42", s.token)
	})
	if err != nil {
		return "", fmt.Errorf("the suspended agent's token: %w", err)
	}
	took := time.Since(began)
	if _, err := s.refused(ctx, http.StatusUnauthorized, http.MethodGet, "/orders/42", s.token); err != nil {
		return "", err
	}
	var refusal *issuerclient.Error
	if _, err := s.newToken(ctx, ""); !errors.As(err, &refusal) || refusal.Code != "invalid_client" {
		return "", fmt.Errorf("the suspended agent asked for a token and got %v, want invalid_client", err)
	}
	return fmt.Sprintf("first refused after %.2f s", took.Seconds()), nil
}

func (s *story) reactivate(ctx context.Context) (string, error) {
	old := s.token
	if err := s.client.Reactivate(ctx, s.agent.AgentID); err != nil {
		return "", err
	}
	began := time.Now()
	_, err := s.edge.until(ctx, http.StatusOK, []int{http.StatusUnauthorized}, func() (*answer, error) {
		var err error
		if s.token, err = s.newToken(ctx, "orders:read"); err != nil {
			return nil, err
		}
		return s.edge.ask(ctx, http.MethodGet, "/orders/42", s.token)
	})
	if err != nil {
		return "", err
	}
	took := time.Since(began)
	if _, err := s.refused(ctx, http.StatusUnauthorized, http.MethodGet, "/orders/42", old); err != nil {
		return "", fmt.Errorf("the token from before the suspension: %w", err)
	}
	return fmt.Sprintf("after %.2f s; the token from before stays dead", took.Seconds()), nil
}
