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
	Agent  Client          // when Party is nil
	Party  *clients.Client // the relying party
	Method credentials.Method
}

// Clients authenticates clients of either kind, for endpoints that serve both. Parties is nil where there are no relying parties.
type Clients struct {
	Agents  *Authenticator
	Parties *Parties
}

// partyPrefix begins the id of every relying party that is registered (package clients), and of no agent.
const partyPrefix = "cli_"

// namesParty reports whether a client_id is that of a relying party, if of any client.
func namesParty(clientID string) bool {
	return strings.HasPrefix(clientID, partyPrefix) || clientdocument.Names(clientID)
}

// Authenticate returns who sent a request, or an *oauth.Error. A client assertion is used up by it, whatever becomes of the request. The client_id that a request claims says which kind of client it is, and is believed for no more.
func (c Clients) Authenticate(r *http.Request, form oauth.Form) (Sender, error) {
	p, err := read(r, form)
	if err != nil {
		return Sender{}, err
	}
	if c.Parties != nil && namesParty(p.client()) {
		party, method, err := c.Parties.authenticate(r.Context(), p)
		if err != nil {
			return Sender{}, err
		}
		return Sender{Party: &party, Method: method}, nil
	}
	agent, err := c.Agents.authenticate(r.Context(), p)
	if err != nil {
		return Sender{}, err
	}
	return Sender{Agent: agent, Method: agent.Method}, nil
}
