package issuer

import (
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/federation"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/signin"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// tokenParts are what the token endpoint shares with others.
type tokenParts struct {
	agents  *agents.Service
	clients clientauth.Clients
	minter  *tokens.Minter
	proofs  *dpop.Checker
	dids    did.Namespace
	judge   *tokenstate.Judge

	partners *federation.Partners
}

// newTokenEndpoint connects the token endpoint and every grant it serves: those of agents, and those of relying parties.
func newTokenEndpoint(cfg Config, env Environment, parts tokenParts, parties *signin.Grants) (*grants.Endpoint, error) {
	exchange, err := grants.TokenExchange(grants.ExchangeConfig{
		Agents: parts.agents, Judge: parts.judge, Partners: parts.partners, IdentifySignIn: parties.IdentifyForAssertion, DIDs: parts.dids.Agent, ActorsMax: cfg.Tokens.ActorsMax,
	})
	if err != nil {
		return nil, err
	}
	bearer, err := grants.JWTBearer(parts.partners, cfg.Tokens.ActorsMax)
	if err != nil {
		return nil, err
	}
	return grants.New(grants.Config{
		Clients: parts.clients, Minter: parts.minter, Recorder: parts.agents, Proofs: parts.proofs, Metrics: env.Registry, Now: env.Now,
	}, parties.AuthorizationCode(), parties.RefreshToken(), grants.ClientCredentials(), exchange, bearer)
}
