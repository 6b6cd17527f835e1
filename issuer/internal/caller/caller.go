// Package caller says who asks about a token: an agent, or a relying party. The endpoints about tokens serve both, and tell each what is its own.
package caller

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Caller is a client of the issuer that was asked.
type Caller struct {
	ClientID     string
	Organization agentid.Organization
	Names        []string // the audiences it is itself
	Public       bool     // it proved nothing: it has no secret
	Party        bool     // it is a relying party
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

// Agents authenticates agents. clientauth.Authenticator implements it.
type Agents interface {
	Authenticate(r *http.Request, form oauth.Form) (clientauth.Client, error)
}

// Parties authenticates relying parties of the issuer that was asked.
type Parties interface {
	Authenticate(r *http.Request, form oauth.Form) (clients.Client, clientauth.Method, error)
}

// Identifier identifies callers.
type Identifier struct {
	agents  Agents
	parties Parties
	dids    did.Namespace
}

// New returns an Identifier. p is nil where there are no relying parties.
func New(a Agents, p Parties, dids did.Namespace) *Identifier { return &Identifier{a, p, dids} }

// partyPrefix begins the id of every relying party (package clients).
const partyPrefix = "cli_"

// Identify returns who sent the request, or an *oauth.Error. A client of another issuer is one that does not exist.
func (i *Identifier) Identify(r *http.Request, form oauth.Form) (*Caller, error) {
	if i.parties != nil && strings.HasPrefix(claimed(r, form), partyPrefix) {
		c, _, err := i.parties.Authenticate(r, form)
		if err != nil {
			return nil, err
		}
		return &Caller{
			ClientID: c.ClientID(), Organization: c.OrganizationID, Names: []string{c.ClientID()}, Public: c.Public(), Party: true, kind: audit.KindClient,
		}, nil
	}
	c, err := i.agents.Authenticate(r, form)
	if err != nil {
		return nil, err
	}
	if !issuers.From(r.Context()).Admits(c.Agent.OrganizationID) {
		return nil, &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed."}
	}
	id := c.Agent.ID.String()
	return &Caller{
		ClientID: id, Organization: c.Agent.OrganizationID, Names: append([]string{id, i.dids.Agent(c.Agent.ID)}, c.Agent.Serves...), kind: audit.KindAgent,
	}, nil
}

// claimed is the client_id a request comes with, believed for no more than the choice of who checks it.
func claimed(r *http.Request, form oauth.Form) string {
	if id, _, ok := r.BasicAuth(); ok {
		if plain, err := url.QueryUnescape(id); err == nil {
			return plain
		}
	}
	return form.Get("client_id")
}
