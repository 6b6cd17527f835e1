package adminapi

import (
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
)

// Defaults of an initial access token: for one agent, now.
const (
	initialTokenUses     = 1
	initialTokenLifetime = time.Hour
)

// existing is the organization of the path, which exists.
func (a *API) existing(r *http.Request) (agentid.Organization, error) {
	id, err := organizationID(r)
	if err != nil {
		return id, err
	}
	_, err = a.Organizations.Get(r.Context(), id)
	return id, err
}

// ListInitialAccessTokens implements GET /organizations/{organizationId}/initial-access-tokens.
func (a *API) ListInitialAccessTokens(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.listInitialAccessTokens)(w, r)
}

func (a *API) listInitialAccessTokens(r *http.Request, _ web.None) (reply web.Reply[InitialAccessTokenList], err error) {
	org, err := a.existing(r)
	if err != nil {
		return reply, err
	}
	all, err := a.Registration.List(r.Context(), org)
	reply.Body = InitialAccessTokenList{InitialAccessTokens: mapped(all, initialTokenBody)}
	return reply, err
}

// CreateInitialAccessToken implements POST /organizations/{organizationId}/initial-access-tokens.
func (a *API) CreateInitialAccessToken(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.createInitialAccessToken)(w, r)
}

func (a *API) createInitialAccessToken(r *http.Request, in CreateInitialAccessToken) (reply web.Reply[NewInitialAccessToken], err error) {
	org, err := a.existing(r)
	if err != nil {
		return reply, err
	}
	uses, lifetime := int64(initialTokenUses), initialTokenLifetime
	if in.Uses != nil {
		uses = min(max(*in.Uses, 0), selfregistration.UsesMax+1) // the service says what is wrong
	}
	if in.LifetimeSeconds != nil {
		if lifetime, err = seconds(*in.LifetimeSeconds, selfregistration.LifetimeMin, selfregistration.LifetimeMax, "/lifetimeSeconds"); err != nil {
			return reply, err
		}
	}
	var secrets time.Duration // 0: they do not expire
	if n := value(in.SecretLifetimeSeconds); n != 0 {
		if secrets, err = seconds(n, credentials.LifetimeMin, credentials.LifetimeMax, "/secretLifetimeSeconds"); err != nil {
			return reply, err
		}
	}
	kinds := []string{selfregistration.KindAgent}
	if in.Kinds != nil {
		kinds = mapped(*in.Kinds, func(k CreateInitialAccessTokenKinds) string { return string(k) })
	}
	t, text, err := a.Registration.Create(r.Context(), actor(r), selfregistration.InitialToken{
		OrganizationID: org, Name: value(in.Name), Kinds: kinds, Scopes: list(value(in.Scopes)), Audiences: value(in.Audiences), UsesMax: int(uses), SecretLifetime: secrets,
	}, lifetime)
	if err != nil {
		return reply, err
	}
	reply.Status, reply.Location = http.StatusCreated, "/organizations/"+org.String()+"/initial-access-tokens/"+t.ID.String()
	reply.Body = NewInitialAccessToken{InitialAccessToken: initialTokenBody(t), Token: text}
	return reply, nil
}

// DeleteInitialAccessToken implements DELETE /organizations/{organizationId}/initial-access-tokens/{initialAccessTokenId}.
func (a *API) DeleteInitialAccessToken(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.deleteInitialAccessToken)(w, r)
}

func (a *API) deleteInitialAccessToken(r *http.Request, _ web.None) (reply web.Reply[web.None], err error) {
	org, err := a.existing(r)
	if err != nil {
		return reply, err
	}
	id, err := web.PathID(r, initialTokenIDParam, agentid.Parse[agentid.InitialToken])
	if err != nil {
		return reply, err
	}
	return reply, a.Registration.Delete(r.Context(), actor(r), org, id)
}

func initialTokenBody(t selfregistration.InitialToken) InitialAccessToken {
	return InitialAccessToken{
		Id: t.ID, OrganizationId: t.OrganizationID, Name: t.Name, Scopes: list(t.Scopes),
		Kinds: mapped(t.Kinds, func(k string) InitialAccessTokenKinds { return InitialAccessTokenKinds(k) }), Audiences: list(t.Audiences),
		Uses: int64(t.Uses), UsesMax: int64(t.UsesMax), SecretLifetimeSeconds: int64(t.SecretLifetime / time.Second), CreatedAt: t.CreatedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(),
	}
}
