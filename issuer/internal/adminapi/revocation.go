package adminapi

import (
	"net/http"

	"github.com/agentidp/agentidp/internal/web"
)

// RevokeAgentTokens implements POST /agents/{agentId}/revoke-tokens.
func (a *API) RevokeAgentTokens(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.revokeAgentTokens)(w, r)
}

func (a *API) revokeAgentTokens(r *http.Request, in RevokeAgentTokens) (reply web.Reply[RevokedTokens], err error) {
	id, err := agentID(r)
	if err != nil {
		return reply, err
	}
	if in.TokenId != nil {
		reply.Body.TokenId = in.TokenId
		return reply, a.Revocation.Token(r.Context(), actor(r), id, *in.TokenId)
	}
	watermark, err := a.Revocation.Agent(r.Context(), actor(r), id)
	reply.Body.TokensNotBefore = present(watermark)
	return reply, err
}

// RevokeOrganizationTokens implements POST /organizations/{organizationId}/revoke-tokens.
func (a *API) RevokeOrganizationTokens(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.revokeOrganizationTokens)(w, r)
}

func (a *API) revokeOrganizationTokens(r *http.Request, _ web.None) (reply web.Reply[RevokedTokens], err error) {
	id, err := organizationID(r)
	if err != nil {
		return reply, err
	}
	watermark, err := a.Revocation.Organization(r.Context(), actor(r), id)
	reply.Body.TokensNotBefore = present(watermark)
	return reply, err
}
