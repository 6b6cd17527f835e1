package revocation

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// tokenIDBytesMax bounds the jti an administrator may name; ours have 26 characters.
const tokenIDBytesMax = 128

// Agents is what the Service needs of package agents.
type Agents interface {
	Get(ctx context.Context, id agentid.Agent) (agents.Agent, error)
	RevokeTokens(ctx context.Context, actor audit.Actor, id agentid.Agent) (agents.Agent, error)
}

// Service revokes on behalf of administrators.
type Service struct {
	store  Store
	agents Agents
	now    func() time.Time
}

// NewService returns a Service.
func NewService(store Store, a Agents, now func() time.Time) *Service { return &Service{store, a, now} }

// Token revokes one token of an agent by its jti, as the audit log shows it. Nobody has the token at hand, so it counts as if it had been issued just now.
func (s *Service) Token(ctx context.Context, actor audit.Actor, agent agentid.Agent, id string) error {
	if !visible(id) || len(id) > tokenIDBytesMax {
		return &problem.Error{Kind: problem.Invalid, Code: "token_id_format", Field: "/tokenId", Detail: "must be 1 to 128 visible ASCII characters"}
	}
	a, err := s.agents.Get(ctx, agent)
	if err != nil {
		return err
	}
	return s.store.RevokeToken(ctx, actor, Token{
		Organization: a.OrganizationID, Agent: a.ID, ID: id, ExpiresAt: s.now().UTC().Truncate(time.Second).Add(tokens.LifetimeMax + time.Second),
	})
}

// Agent revokes what an agent was issued up to now. It stays active and can get new tokens at once.
func (s *Service) Agent(ctx context.Context, actor audit.Actor, id agentid.Agent) (time.Time, error) {
	a, err := s.agents.RevokeTokens(ctx, actor, id)
	return a.TokensNotBefore, err
}

// Organization revokes what every agent of an organization was issued up to now.
func (s *Service) Organization(ctx context.Context, actor audit.Actor, id agentid.Organization) (time.Time, error) {
	return s.store.RevokeOrganizationTokens(ctx, actor, id)
}

func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
