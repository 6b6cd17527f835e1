package clientauth

import (
	"net/http"
	"strings"

	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Sender is who sent a request: an agent, or a relying party.
type Sender struct {
	Agent        AuthenticatedAgent // when RelyingParty is nil
	RelyingParty *clients.Client    // nil for an agent
	Method       credentials.Method
}

// Clients authenticates clients of either kind, for endpoints that serve both. RelyingParties is nil where there are no relying parties.
type Clients struct {
	Agents         *AgentAuthenticator
	RelyingParties *RelyingPartyAuthenticator
}

// relyingPartyPrefix begins the id of every relying party that is registered (package clients), and of no agent.
const relyingPartyPrefix = "cli_"

// namesRelyingParty reports whether a client_id is that of a relying party, if of any client.
func namesRelyingParty(clientID string) bool {
	return strings.HasPrefix(clientID, relyingPartyPrefix) || clientdocument.Names(clientID)
}

// Authenticate returns who sent a request, or an *oauth.Error. A client assertion is used up by it, whatever becomes of the request. The client_id that a request claims says which kind of client it is, and is believed for no more.
func (c Clients) Authenticate(r *http.Request, form oauth.Form) (Sender, error) {
	p, err := read(r, form)
	if err != nil {
		return Sender{}, err
	}
	if c.RelyingParties != nil && namesRelyingParty(p.client()) {
		party, method, err := c.RelyingParties.authenticate(r.Context(), p)
		if err != nil {
			return Sender{}, err
		}
		return Sender{RelyingParty: &party, Method: method}, nil
	}
	agent, err := c.Agents.authenticate(r.Context(), p)
	if err != nil {
		return Sender{}, err
	}
	return Sender{Agent: agent, Method: agent.Method}, nil
}
