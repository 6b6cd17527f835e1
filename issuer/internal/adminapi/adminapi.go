package adminapi

import (
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
)

// API serves the administrative operations of the contract. The other operations of ServerInterface belong to the protocol packages.
type API struct {
	Organizations *orgs.Service
	Limits        *orgs.LimitsService
	Agents        *agents.Service
	Revocation    *revocation.Service
	Registration  *selfregistration.Service
	Methods       Methods
	Clients       *clients.Service
	Audit         audit.Store
	Pages         *web.Pages
	DIDs          did.Namespace
	Issuers       *issuers.Set
	SigningKeys   *keys.Rings
}

// Methods knows which credentials can be used at this issuer. clientauth.AgentAuthenticator is one.
type Methods interface {
	// Admits says why a credential of the kind cannot.
	Admits(kind string, r credentials.Registration) error
}

// Path and query parameters of the contract.
const (
	organizationIDParam = "organizationId"
	agentIDParam        = "agentId"
	credentialIDParam   = "credentialId"
	initialTokenIDParam = "initialAccessTokenId"
	clientIDParam       = "clientId"
	pageSizeParam       = "pageSize"
	pageTokenParam      = "pageToken"
)

// noQuery refuses any query parameter: operations on one thing have none.
func noQuery(r *http.Request) error {
	_, err := web.ParseQuery(r)
	return err
}

func organizationID(r *http.Request) (agentid.Organization, error) {
	if err := noQuery(r); err != nil {
		return agentid.Organization{}, err
	}
	return web.PathID(r, organizationIDParam, agentid.Parse[agentid.Organization])
}

func agentID(r *http.Request) (agentid.Agent, error) {
	if err := noQuery(r); err != nil {
		return agentid.Agent{}, err
	}
	return web.PathID(r, agentIDParam, agentid.Parse[agentid.Agent])
}

func credentialID(r *http.Request) (agentid.Agent, agentid.Credential, error) {
	agent, err := agentID(r)
	if err != nil {
		return agentid.Agent{}, agentid.Credential{}, err
	}
	id, err := web.PathID(r, credentialIDParam, agentid.Parse[agentid.Credential])
	return agent, id, err
}

// cursor is the id a page token carries. The token was sealed by us, so a text that is no id is a token of another kind of list.
func cursor[T any](p *web.Page, parse func(string) (T, error)) (id T, err error) {
	if p.After == "" {
		return id, nil
	}
	return parse(p.After)
}

// mapped is never nil, so that an empty list is [] and not null.
func mapped[From, To any](in []From, f func(From) To) []To {
	out := make([]To, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

// present is nil for the zero value: optional members are left out, not empty.
func present[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// list is never nil, for the same reason as mapped.
func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}
