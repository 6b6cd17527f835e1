// Package caller says who asks about a token: an agent, or a relying party. The endpoints about tokens serve both, and tell each what is its own.
package caller

import (
	"context"
	"net/http"
	"slices"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Caller is a client of the issuer that was asked.
type Caller struct {
	ClientID     string
	Organization agentid.Organization
	Names        []string // the audiences it is itself
	Public       bool     // it proved nothing: it has no secret
	RelyingParty bool     // and no agent
	kind         string
}

// Is reports whether a token for these audiences is for the caller.
func (c *Caller) Is(audience []string) bool {
	return slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(c.Names, a) })
}

// Actor is the caller in the audit log.
func (c *Caller) Actor(ctx context.Context) audit.Actor {
	return audit.Actor{Kind: c.kind, ID: c.ClientID, RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
}

// Clients authenticates clients of both kinds. clientauth.Clients implements it.
type Clients interface {
	Authenticate(r *http.Request, form oauth.Form) (clientauth.Sender, error)
}

// Identifier identifies callers.
type Identifier struct {
	clients Clients
	dids    did.Namespace
}

// New returns an Identifier.
func New(c Clients, dids did.Namespace) *Identifier { return &Identifier{c, dids} }

// Identify returns who sent the request, or an *oauth.Error. A client of another issuer is one that does not exist.
func (i *Identifier) Identify(r *http.Request, form oauth.Form) (*Caller, error) {
	sender, err := i.clients.Authenticate(r, form)
	if err != nil {
		return nil, err
	}
	if c := sender.RelyingParty; c != nil {
		return &Caller{
			ClientID: c.ClientID(), Organization: c.OrganizationID, Names: []string{c.ClientID()}, Public: c.Public(), RelyingParty: true, kind: audit.KindClient,
		}, nil
	}
	agent := sender.Agent.Agent
	id := agent.ID.String()
	return &Caller{
		ClientID: id, Organization: agent.OrganizationID, Names: append([]string{id, i.dids.Agent(agent.ID)}, agent.Serves...), kind: audit.KindAgent,
	}, nil
}
