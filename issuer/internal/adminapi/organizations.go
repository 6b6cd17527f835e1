package adminapi

import (
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
)

// ListOrganizations implements GET /organizations.
func (a *API) ListOrganizations(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.listOrganizations)(w, r)
}

func (a *API) listOrganizations(r *http.Request, _ web.None) (reply web.Reply[OrganizationList], err error) {
	q, err := web.ParseQuery(r, pageSizeParam, pageTokenParam)
	if err != nil {
		return reply, err
	}
	page, err := a.Pages.Read(r, q)
	if err != nil {
		return reply, err
	}
	after, err := cursor(page, agentid.Parse[agentid.Organization])
	if err != nil {
		return reply, err
	}
	found, err := a.Organizations.List(r.Context(), after, page.Limit())
	if err != nil {
		return reply, err
	}
	found, next := web.Cut(page, found, func(o orgs.Organization) string { return o.ID.String() })
	reply.Body = OrganizationList{Organizations: mapped(found, organizationBody), NextPageToken: next}
	return reply, nil
}

// CreateOrganization implements POST /organizations.
func (a *API) CreateOrganization(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.createOrganization)(w, r)
}

func (a *API) createOrganization(r *http.Request, in CreateOrganization) (reply web.Reply[Organization], err error) {
	if err := noQuery(r); err != nil {
		return reply, err
	}
	o, err := a.Organizations.Create(r.Context(), actor(r), orgs.Create{Slug: in.Slug, DisplayName: in.DisplayName})
	if err != nil {
		return reply, err
	}
	reply = organizationReply(o)
	reply.Status, reply.Location = http.StatusCreated, "/organizations/"+o.ID.String()
	return reply, nil
}

// GetOrganization implements GET /organizations/{organizationId}.
func (a *API) GetOrganization(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.getOrganization)(w, r)
}

func (a *API) getOrganization(r *http.Request, _ web.None) (reply web.Reply[Organization], err error) {
	id, err := organizationID(r)
	if err != nil {
		return reply, err
	}
	o, err := a.Organizations.Get(r.Context(), id)
	if err != nil {
		return reply, err
	}
	return organizationReply(o), nil
}

// UpdateOrganization implements PATCH /organizations/{organizationId}.
func (a *API) UpdateOrganization(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.updateOrganization)(w, r)
}

func (a *API) updateOrganization(r *http.Request, in UpdateOrganization) (reply web.Reply[Organization], err error) {
	id, err := organizationID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	o, err := a.Organizations.Update(r.Context(), actor(r), id, version, orgs.Update{DisplayName: in.DisplayName})
	if err != nil {
		return reply, err
	}
	return organizationReply(o), nil
}

// DeleteOrganization implements DELETE /organizations/{organizationId}.
func (a *API) DeleteOrganization(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.deleteOrganization)(w, r)
}

func (a *API) deleteOrganization(r *http.Request, _ web.None) (reply web.Reply[web.None], err error) {
	id, err := organizationID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	return reply, a.Organizations.Delete(r.Context(), actor(r), id, version)
}

func organizationReply(o orgs.Organization) web.Reply[Organization] {
	return web.Reply[Organization]{ETag: web.VersionTag(o.Version), Body: organizationBody(o)}
}

func organizationBody(o orgs.Organization) Organization {
	return Organization{
		Id: o.ID, Slug: o.Slug, DisplayName: o.DisplayName,
		CreatedAt: o.CreatedAt.UTC(), UpdatedAt: o.UpdatedAt.UTC(), Version: o.Version,
	}
}
