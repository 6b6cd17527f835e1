package issuer

import (
	"github.com/agentidp/agentidp/issuer/internal/caller"
	"github.com/agentidp/agentidp/issuer/internal/introspection"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
	"github.com/agentidp/agentidp/issuer/internal/signin"
)

// questions are the endpoints about tokens and clients.
type questions struct {
	*selfregistration.Registrar
	*revocation.Revoker
	*introspection.Introspector
}

func newQuestions(s shared, in signInParts) (questions, *selfregistration.Service, error) {
	secrets, err := selfregistration.NewSecrets(s.hashKey)
	if err != nil {
		return questions{}, nil, err
	}
	callers := caller.New(in.senders, s.dids)
	refresh := &signin.RefreshTokens{Store: s.store, Secrets: in.grants.Secrets, Agents: s.agents, Now: s.now}
	return questions{
		selfregistration.New(s.store, secrets, s.agents, s.clients.Methods, s.gate, s.now),
		revocation.NewRevoker(callers, s.judge, s.store, refresh),
		introspection.New(callers, s.judge, refresh),
	}, selfregistration.NewService(s.store, secrets, s.now), nil
}
