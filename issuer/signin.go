package issuer

import (
	"time"

	"github.com/agentidp/agentidp/issuer/internal/agentinfo"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/discovery"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/presented"
	"github.com/agentidp/agentidp/issuer/internal/signin"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// signInParts is what agents signing in to relying parties needs, made from what there is already.
type signInParts struct {
	clients  *clients.Service
	senders  clientauth.Clients
	endpoint *signin.Authorization
	info     *agentinfo.Info
	grants   *signin.Grants
}

// shared are the parts of the issuer that signing in shares with everything else.
type shared struct {
	hashKey []byte
	store   *postgres.Store
	agents  *agents.Service
	minter  *tokens.Minter
	proofs  *dpop.Checker
	judge   *tokenstate.Judge
	dids    did.Namespace
	gate    clientauth.Gate
	trust   clientauth.Trust
	clients *clientauth.AgentAuthenticator
	now     func() time.Time

	documents *clientdocument.Documents // nil when they are not served
}

func newSignIn(s shared) (signInParts, error) {
	service, err := clients.NewService(s.store, s.hashKey, s.now)
	if err != nil {
		return signInParts{}, err
	}
	secrets, err := signin.NewSecrets(s.hashKey)
	if err != nil {
		return signInParts{}, err
	}
	var documents *clientauth.Documents
	if s.documents != nil {
		documents = clientauth.NewDocuments(s.documents, s.gate, s.now)
	}
	parties := clientauth.NewRelyingPartyAuthenticator(service, s.agents, s.trust, s.gate, documents)
	senders := clientauth.Clients{Agents: s.clients, RelyingParties: parties}
	checker := presented.New(s.judge, s.agents, s.proofs, s.gate, s.now)
	return signInParts{
		clients: service, senders: senders,
		endpoint: signin.New(signin.Config{
			RelyingParties: parties, Presented: checker, Clients: senders, Proofs: s.proofs, Uses: s.agents, Store: s.store, Secrets: secrets, Now: s.now,
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
