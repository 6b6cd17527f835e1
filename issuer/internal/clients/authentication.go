package clients

import (
	"context"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// Authenticate returns the relying party and the credential that check found, by the contract of agents.Service.Authenticate. A credential that its authentication
// does not name is none.
func (s *Service) Authenticate(ctx context.Context, clientID string, check credentials.Check) (Client, agentid.Credential, error) {
	return s.authenticate(ctx, clientID, func(Client) bool { return true }, check)
}

// AuthenticateSecret is Authenticate with a client secret that was sent by a method: the client is registered for one of the two.
func (s *Service) AuthenticateSecret(ctx context.Context, clientID, secret string, method credentials.Method) (Client, agentid.Credential, error) {
	return s.authenticate(ctx, clientID, func(c Client) bool { return c.Authentication == method }, s.secrets.Check(secret))
}

func (s *Service) authenticate(ctx context.Context, clientID string, may func(Client) bool, check credentials.Check) (Client, agentid.Credential, error) {
	id, parseErr := agentid.Parse[agentid.Client](clientID)
	now := s.clock()
	c, registered, err := s.store.RelyingPartyForAuthentication(ctx, id, now) // an id that cannot exist is looked up like any other
	registered = slices.DeleteFunc(registered, func(r credentials.Registered) bool { return r.Kind != c.Authentication.Kind() })
	matched, err := credentials.Prove(ctx, err, parseErr == nil && may(c), registered, check)
	if err != nil {
		return Client{}, agentid.Credential{}, err
	}
	if err := s.used(ctx, c, matched, registered, now); err != nil {
		return Client{}, agentid.Credential{}, err
	}
	return c, matched, nil
}

// used notes the last use, once a minute: unlike an agent, a relying party may never get a token.
func (s *Service) used(ctx context.Context, c Client, id agentid.Credential, registered []credentials.Registered, now time.Time) error {
	minute := now.Truncate(time.Minute)
	if slices.ContainsFunc(registered, func(r credentials.Registered) bool { return r.Credential == id && !r.LastUsedAt.Before(minute) }) {
		return nil
	}
	return s.store.ClientCredentialUsed(ctx, c, id, minute)
}
