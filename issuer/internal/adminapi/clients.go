package adminapi

import (
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// ListClients implements GET /clients.
func (a *API) ListClients(w http.ResponseWriter, r *http.Request) { web.JSON(a.listClients)(w, r) }

func (a *API) listClients(r *http.Request, _ web.None) (reply web.Reply[ClientList], err error) {
	q, err := web.ParseQuery(r, organizationIDParam, pageSizeParam, pageTokenParam)
	if err != nil {
		return reply, err
	}
	org, err := web.ID(q, organizationIDParam, agentid.Parse[agentid.Organization])
	if err != nil {
		return reply, err
	}
	page, err := a.Pages.Read(r, q)
	if err != nil {
		return reply, err
	}
	after, err := cursor(page, agentid.Parse[agentid.Client])
	if err != nil {
		return reply, err
	}
	if _, err := a.Organizations.Get(r.Context(), org); err != nil { // an empty list would say that it exists
		return reply, err
	}
	found, err := a.Clients.List(r.Context(), org, after, page.Limit())
	if err != nil {
		return reply, err
	}
	found, next := web.Cut(page, found, func(v clients.Client) string { return v.ID.String() })
	reply.Body = ClientList{Clients: mapped(found, clientBody), NextPageToken: next}
	return reply, nil
}

// CreateClient implements POST /clients.
func (a *API) CreateClient(w http.ResponseWriter, r *http.Request) { web.JSON(a.createClient)(w, r) }

func (a *API) createClient(r *http.Request, in CreateClient) (reply web.Reply[NewClient], err error) {
	if err := noQuery(r); err != nil {
		return reply, err
	}
	v := clients.Client{
		OrganizationID: in.OrganizationId, Name: in.Name, Type: clients.Web, Authentication: credentials.ClientSecretBasic, RedirectURIs: in.RedirectUris,
		Scopes: list(value(in.Scopes)), Audiences: list(value(in.Audiences)), RefreshTokens: value(in.RefreshTokens), RequirePushed: value(in.RequirePushedRequests),
		RequireDPoP: value(in.RequireDPoP), RequireCertificate: value(in.RequireCertificate), PKCEOptional: value(in.PkceOptional),
	}
	if in.Type != nil {
		v.Type = clients.Type(*in.Type)
	}
	if in.Authentication != nil {
		v.Authentication = credentials.Method(*in.Authentication)
	}
	registration, err := a.clientRegistration(v.Authentication, in.Registration)
	if err != nil {
		return reply, err
	}
	v, first, secret, err := a.Clients.Create(r.Context(), actor(r), v, registration)
	if err != nil {
		return reply, err
	}
	reply = web.Reply[NewClient]{
		Status: http.StatusCreated, ETag: web.VersionTag(v.Version), Location: "/clients/" + v.ID.String(),
		Body: NewClient{Client: clientBody(v), ClientSecret: present(secret)},
	}
	if first != nil {
		body := clientCredentialBody(*first)
		reply.Body.Credential = &body
	}
	return reply, nil
}

// GetClient implements GET /clients/{clientId}.
func (a *API) GetClient(w http.ResponseWriter, r *http.Request) { web.JSON(a.getClient)(w, r) }

func (a *API) getClient(r *http.Request, _ web.None) (reply web.Reply[Client], err error) {
	id, err := clientID(r)
	if err != nil {
		return reply, err
	}
	v, err := a.Clients.Get(r.Context(), id)
	if err != nil {
		return reply, err
	}
	return clientReply(v), nil
}

// UpdateClient implements PATCH /clients/{clientId}.
func (a *API) UpdateClient(w http.ResponseWriter, r *http.Request) { web.JSON(a.updateClient)(w, r) }

func (a *API) updateClient(r *http.Request, in UpdateClient) (reply web.Reply[Client], err error) {
	id, err := clientID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	v, err := a.Clients.Update(r.Context(), actor(r), id, version, func(c *clients.Client) {
		set(&c.Name, in.Name)
		set(&c.RedirectURIs, in.RedirectUris)
		set(&c.Scopes, in.Scopes)
		set(&c.Audiences, in.Audiences)
		set(&c.RefreshTokens, in.RefreshTokens)
		set(&c.RequirePushed, in.RequirePushedRequests)
		set(&c.RequireDPoP, in.RequireDPoP)
		set(&c.RequireCertificate, in.RequireCertificate)
		set(&c.PKCEOptional, in.PkceOptional)
		if in.Type != nil {
			c.Type = clients.Type(*in.Type)
		}
		if in.Authentication != nil {
			c.Authentication = credentials.Method(*in.Authentication)
		}
	})
	if err != nil {
		return reply, err
	}
	return clientReply(v), nil
}

// DeleteClient implements DELETE /clients/{clientId}.
func (a *API) DeleteClient(w http.ResponseWriter, r *http.Request) { web.JSON(a.deleteClient)(w, r) }

func (a *API) deleteClient(r *http.Request, _ web.None) (reply web.Reply[web.None], err error) {
	id, err := clientID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	return reply, a.Clients.Delete(r.Context(), actor(r), id, version)
}

func clientID(r *http.Request) (agentid.Client, error) {
	if err := noQuery(r); err != nil {
		return agentid.Client{}, err
	}
	return web.PathID(r, clientIDParam, agentid.Parse[agentid.Client])
}

// set changes a field when the request has it.
func set[T any](field *T, given *T) {
	if given != nil {
		*field = *given
	}
}

func clientReply(v clients.Client) web.Reply[Client] {
	return web.Reply[Client]{ETag: web.VersionTag(v.Version), Body: clientBody(v)}
}

func clientBody(v clients.Client) Client {
	return Client{
		Id: v.ID, OrganizationId: v.OrganizationID, Name: v.Name, Type: ClientType(v.Type), Authentication: ClientAuthentication(v.Authentication),
		RedirectUris: list(v.RedirectURIs), Scopes: list(v.Scopes), Audiences: list(v.Audiences), RefreshTokens: v.RefreshTokens,
		RequirePushedRequests: v.RequirePushed, RequireDPoP: v.RequireDPoP, RequireCertificate: v.RequireCertificate, PkceOptional: v.PKCEOptional,
		CreatedAt: v.CreatedAt.UTC(), UpdatedAt: v.UpdatedAt.UTC(), Version: v.Version,
	}
}
