package adminapi

import (
	"context"
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// ListAgents implements GET /agents.
func (a *API) ListAgents(w http.ResponseWriter, r *http.Request) { web.JSON(a.listAgents)(w, r) }

func (a *API) listAgents(r *http.Request, _ web.None) (reply web.Reply[AgentList], err error) {
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
	after, err := cursor(page, agentid.Parse[agentid.Agent])
	if err != nil {
		return reply, err
	}
	if _, err := a.Organizations.Get(r.Context(), org); err != nil { // an empty list would say that it exists
		return reply, err
	}
	found, err := a.Agents.List(r.Context(), org, after, page.Limit())
	if err != nil {
		return reply, err
	}
	found, next := web.Cut(page, found, func(v agents.Agent) string { return v.ID.String() })
	reply.Body = AgentList{Agents: mapped(found, a.agentBody), NextPageToken: next}
	return reply, nil
}

// CreateAgent implements POST /agents.
func (a *API) CreateAgent(w http.ResponseWriter, r *http.Request) { web.JSON(a.createAgent)(w, r) }

func (a *API) createAgent(r *http.Request, in CreateAgent) (reply web.Reply[Agent], err error) {
	if err := noQuery(r); err != nil {
		return reply, err
	}
	v, err := a.Agents.Create(r.Context(), actor(r), agents.Create{
		OrganizationID: in.OrganizationId, Name: in.Name, Type: value(in.Type), Description: value(in.Description),
		Capabilities: value(in.Capabilities), Scopes: value(in.Scopes), Audiences: in.Audiences,
		Serves: value(in.Serves), DPoPBound: value(in.DpopBoundAccessTokens), CertificateBound: value(in.TlsClientCertificateBoundAccessTokens),
	})
	if err != nil {
		return reply, err
	}
	reply = a.agentReply(v)
	reply.Status, reply.Location = http.StatusCreated, "/agents/"+v.ID.String()
	return reply, nil
}

// GetAgent implements GET /agents/{agentId}.
func (a *API) GetAgent(w http.ResponseWriter, r *http.Request) { web.JSON(a.getAgent)(w, r) }

func (a *API) getAgent(r *http.Request, _ web.None) (reply web.Reply[Agent], err error) {
	id, err := agentID(r)
	if err != nil {
		return reply, err
	}
	v, err := a.Agents.Get(r.Context(), id)
	if err != nil {
		return reply, err
	}
	return a.agentReply(v), nil
}

// UpdateAgent implements PATCH /agents/{agentId}.
func (a *API) UpdateAgent(w http.ResponseWriter, r *http.Request) { web.JSON(a.updateAgent)(w, r) }

func (a *API) updateAgent(r *http.Request, in UpdateAgent) (reply web.Reply[Agent], err error) {
	id, err := agentID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	v, err := a.Agents.Update(r.Context(), actor(r), id, version, agents.Update{
		Name: in.Name, Type: in.Type, Description: in.Description,
		Capabilities: in.Capabilities, Scopes: in.Scopes, Audiences: in.Audiences,
		Serves: in.Serves, DPoPBound: in.DpopBoundAccessTokens, CertificateBound: in.TlsClientCertificateBoundAccessTokens,
	})
	if err != nil {
		return reply, err
	}
	return a.agentReply(v), nil
}

// DeleteAgent implements DELETE /agents/{agentId}.
func (a *API) DeleteAgent(w http.ResponseWriter, r *http.Request) { web.JSON(a.deleteAgent)(w, r) }

func (a *API) deleteAgent(r *http.Request, _ web.None) (reply web.Reply[web.None], err error) {
	id, err := agentID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	return reply, a.Agents.Delete(r.Context(), actor(r), id, version)
}

// SuspendAgent implements POST /agents/{agentId}/suspend.
func (a *API) SuspendAgent(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.transition(a.Agents.Suspend))(w, r)
}

// ReactivateAgent implements POST /agents/{agentId}/reactivate.
func (a *API) ReactivateAgent(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.transition(a.Agents.Reactivate))(w, r)
}

// RevokeAgent implements POST /agents/{agentId}/revoke.
func (a *API) RevokeAgent(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.transition(a.Agents.Revoke))(w, r)
}

func (a *API) transition(to func(context.Context, audit.Actor, agentid.Agent) (agents.Agent, error)) func(*http.Request, web.None) (web.Reply[Agent], error) {
	return func(r *http.Request, _ web.None) (reply web.Reply[Agent], err error) {
		id, err := agentID(r)
		if err != nil {
			return reply, err
		}
		v, err := to(r.Context(), actor(r), id)
		if err != nil {
			return reply, err
		}
		return a.agentReply(v), nil
	}
}

func (a *API) agentReply(v agents.Agent) web.Reply[Agent] {
	return web.Reply[Agent]{ETag: web.VersionTag(v.Version), Body: a.agentBody(v)}
}

func (a *API) agentBody(v agents.Agent) Agent {
	return Agent{
		Id: v.ID, OrganizationId: v.OrganizationID, Name: v.Name, Type: v.Type, Description: v.Description, Did: a.DIDs.Agent(v.ID),
		Capabilities: list(v.Capabilities), Scopes: list(v.Scopes), Audiences: list(v.Audiences),
		Serves: list(v.Serves), DpopBoundAccessTokens: v.DPoPBound, TlsClientCertificateBoundAccessTokens: v.CertificateBound, Status: AgentStatus(v.Status),
		TokensNotBefore: present(v.TokensNotBefore.UTC()), CreatedAt: v.CreatedAt.UTC(), UpdatedAt: v.UpdatedAt.UTC(), Version: v.Version,
	}
}

// value is the zero value for a member that was left out.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
