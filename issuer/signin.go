package issuer

import (
	"github.com/agentidp/agentidp/issuer/internal/agentinfo"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/discovery"
	"github.com/agentidp/agentidp/issuer/internal/presented"
	"github.com/agentidp/agentidp/issuer/internal/signin"
)

// signInParts is what agents signing in to relying parties needs, made from what there is already.
type signInParts struct {
	relyingParties *clients.Service
	clientAuth     clientauth.Clients // of agents and of relying parties
	endpoint       *signin.Authorization
	info           *agentinfo.Info
	grants         *signin.Grants
}

func newSignIn(s shared) (signInParts, error) {
	now := s.env.Now
	service, err := clients.NewService(s.store, s.hashKey, now)
	if err != nil {
		return signInParts{}, err
	}
	secrets, err := signin.NewSecrets(s.hashKey)
	if err != nil {
		return signInParts{}, err
	}
	var documents *clientauth.Documents
	if s.clientDocuments != nil {
		documents = clientauth.NewDocuments(s.clientDocuments, s.gate, now)
	}
	relyingPartyAuth := clientauth.NewRelyingPartyAuthenticator(service, s.agents, s.trust, s.gate, documents)
	clientAuth := clientauth.Clients{Agents: s.agentAuth, RelyingParties: relyingPartyAuth}
	checker := presented.New(s.judge, s.agents, s.proofs, s.gate, now)
	return signInParts{
		relyingParties: service, clientAuth: clientAuth,
		endpoint: signin.New(signin.Config{
			RelyingParties: relyingPartyAuth, Presented: checker, Clients: clientAuth, Proofs: s.proofs, Uses: s.agents, Store: s.store, Secrets: secrets, Now: now,
		}),
		info:   agentinfo.New(checker, s.dids),
		grants: &signin.Grants{Agents: s.agents, Store: s.store, Secrets: secrets, IDTokens: s.minter},
	}, nil
}

// signInMetadata is what discovery says of it.
func signInMetadata(documents bool) discovery.SignIn {
	return discovery.SignIn{
		Scopes: signin.Scopes(), Claims: agentinfo.Claims(), Contexts: signin.Contexts(), Prompts: signin.Prompts(), Authentication: []string{string(credentials.None)},
		Documents: documents,
	}
}
