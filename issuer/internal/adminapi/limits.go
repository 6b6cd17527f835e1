package adminapi

import (
	"net/http"

	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// GetOrganizationLimits implements GET /organizations/{organizationId}/limits.
func (a *API) GetOrganizationLimits(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.getOrganizationLimits)(w, r)
}

func (a *API) getOrganizationLimits(r *http.Request, _ web.None) (reply web.Reply[OrganizationLimits], err error) {
	id, err := organizationID(r)
	if err != nil {
		return reply, err
	}
	l, err := a.Limits.Get(r.Context(), id)
	if err != nil {
		return reply, err
	}
	return limitsReply(l), nil
}

// PutOrganizationLimits implements PUT /organizations/{organizationId}/limits.
func (a *API) PutOrganizationLimits(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.putOrganizationLimits)(w, r)
}

func (a *API) putOrganizationLimits(r *http.Request, in PutOrganizationLimits) (reply web.Reply[OrganizationLimits], err error) {
	id, err := organizationID(r)
	if err != nil {
		return reply, err
	}
	version, err := web.IfMatch(r)
	if err != nil {
		return reply, err
	}
	organization, err := requestLimit(in.Organization, "/organization")
	if err != nil {
		return reply, err
	}
	client, err := requestLimit(in.Client, "/client")
	if err != nil {
		return reply, err
	}
	l, err := a.Limits.Put(r.Context(), actor(r), id, version, orgs.Limits{Organization: organization, Client: client})
	if err != nil {
		return reply, err
	}
	return limitsReply(l), nil
}

// requestLimit refuses {0, 0}: a limit that is given is never the same as one that is left out.
func requestLimit(in *RequestLimit, field string) (ratelimit.Limit, error) {
	if in == nil {
		return ratelimit.Limit{}, nil
	}
	l := ratelimit.Limit{PerMinute: in.PerMinute, Burst: in.Burst}
	return l, orgs.CheckLimit(field, l)
}

func limitsReply(l orgs.Limits) web.Reply[OrganizationLimits] {
	return web.Reply[OrganizationLimits]{ETag: web.VersionTag(l.Version), Body: OrganizationLimits{
		Organization: limitBody(l.Organization), Client: limitBody(l.Client), UpdatedAt: l.UpdatedAt.UTC(), Version: l.Version,
	}}
}

func limitBody(l ratelimit.Limit) *RequestLimit {
	if l.IsZero() {
		return nil
	}
	return &RequestLimit{PerMinute: l.PerMinute, Burst: l.Burst}
}
