package issuer

import (
	"context"

	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/caller"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/introspection"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
	"github.com/agentidp/agentidp/issuer/internal/signin"
)

// managementEndpoints are where clients ask about tokens, end them, and register themselves.
type managementEndpoints struct {
	*selfregistration.Registrar
	*revocation.Revoker
	*introspection.Introspector
}

// revocations tells whoever remembers agents that one has a watermark now, which a revoked token too many gives it. Without it the next token could be older than that, and dead.
type revocations struct {
	revocation.Store
	agents *agents.Service
}

// RevokeToken implements revocation.Store.
func (r revocations) RevokeToken(ctx context.Context, actor audit.Actor, t revocation.Token) error {
	defer r.agents.Changed(t.Agent)
	return r.Store.RevokeToken(ctx, actor, t)
}

func newManagementEndpoints(s shared, in signInParts, endpoint *grants.Endpoint) (managementEndpoints, *selfregistration.Service, error) {
	secrets, err := selfregistration.NewSecrets(s.hashKey)
	if err != nil {
		return managementEndpoints{}, nil, err
	}
	callers := caller.New(in.clientAuth, s.dids)
	refresh := &signin.RefreshTokens{Store: s.store, Secrets: in.grants.Secrets, Now: s.env.Now}
	return managementEndpoints{
		selfregistration.New(selfregistration.Config{
			Store: s.store, Secrets: secrets, Agents: s.agents, RelyingParties: in.relyingParties, Methods: s.agentAuth.Methods(), Admits: s.agentAuth.Admits,
			AgentGrants: endpoint.AgentTypes(), RelyingPartyGrants: endpoint.RelyingPartyTypes(), SignInScopes: signin.Scopes(), RefreshScope: signin.OfflineAccess,
			Gate: s.gate, Now: s.env.Now,
		}),
		revocation.NewRevoker(callers, s.judge, revocations{s.store, s.agents}, refresh, s.issuers),
		introspection.New(callers, s.judge, refresh),
	}, selfregistration.NewService(s.store, secrets, s.env.Now), nil
}
