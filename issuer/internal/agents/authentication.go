package agents

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// Authenticate returns the active agent and the credential that check found. Every failed authentication is credentials.ErrAuthentication after the same work, whether the
// client exists or not: for one that does not exist, or is not active, check is called with nothing registered. A store failure is a different error (Unavailable).
func (s *Service) Authenticate(ctx context.Context, clientID string, check credentials.Check) (Agent, agentid.Credential, error) {
	id, parseErr := agentid.Parse[agentid.Agent](clientID)
	agent, registered, err := s.store.ClientForAuthentication(ctx, id, s.clock()) // an id that cannot exist is looked up like any other
	matched, err := credentials.Prove(ctx, err, parseErr == nil && agent.Status == Active, registered, check)
	if err != nil {
		return Agent{}, agentid.Credential{}, err
	}
	return agent, matched, nil
}

// AuthenticateSecret is Authenticate with a client secret. The work of a failure is always: one query, and twice one keyed hash and credentials.PerKindMax comparisons in
// constant time. A success may be remembered (UseCache).
func (s *Service) AuthenticateSecret(ctx context.Context, clientID, secret string) (Agent, agentid.Credential, error) {
	if agent, credential, ok := s.authenticateCached(clientID, secret); ok {
		return agent, credential, nil
	}
	return s.Authenticate(ctx, clientID, s.secrets.Check(secret))
}
