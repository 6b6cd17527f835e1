package issuer

import (
	"github.com/agentidp/agentidp/issuer/internal/grants"
)

// newTokenEndpoint connects the token endpoint and every grant it serves: those of agents, and those of relying parties.
func newTokenEndpoint(s shared, in signInParts) (*grants.Endpoint, error) {
	exchange, err := grants.TokenExchange(grants.ExchangeConfig{
		Agents: s.agents, Judge: s.judge, Partners: s.partners, IdentifySignIn: in.grants.IdentifyForAssertion, DIDs: s.dids.Agent, ActorsMax: s.cfg.Tokens.ActorsMax,
	})
	if err != nil {
		return nil, err
	}
	bearer, err := grants.JWTBearer(s.partners, s.dids.Agent, s.cfg.Tokens.ActorsMax)
	if err != nil {
		return nil, err
	}
	return grants.New(grants.Config{
		Clients: in.clientAuth, Minter: s.minter, Recorder: s.agents, Proofs: s.proofs, Metrics: s.env.Registry, Now: s.env.Now,
	}, in.grants.AuthorizationCode(), in.grants.RefreshToken(), grants.ClientCredentials(), exchange, bearer)
}
