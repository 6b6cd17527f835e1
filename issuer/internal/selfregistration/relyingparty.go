package selfregistration

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientmetadata"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// RelyingParties is what registration needs of package clients.
type RelyingParties interface {
	Prepare(in clients.Client, r credentials.Registration, lifetime time.Duration) (clients.Prepared, error)
	Get(ctx context.Context, id agentid.Client) (clients.Client, error)
	Credentials(ctx context.Context, id agentid.Client) ([]clients.Credential, error)
	Update(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, change func(*clients.Client)) (clients.Client, error)
	Delete(ctx context.Context, actor audit.Actor, id agentid.Client, version int64) error
	AuthenticateSecret(ctx context.Context, clientID, secret string, method credentials.Method) (clients.Client, agentid.Credential, error)
	CreateCredential(ctx context.Context, actor audit.Actor, id agentid.Client, kind string, r credentials.Registration, lifetime time.Duration) (clients.Credential, string, error)
	RotateCredential(ctx context.Context, actor audit.Actor, old clients.Credential, r credentials.Registration, overlap time.Duration) (clients.Credential, string, error)
}

// signInInformation is what is said of relying parties alone.
type signInInformation struct {
	RedirectURIs     []string `json:"redirect_uris"`
	ApplicationType  string   `json:"application_type"`
	RequirePushed    bool     `json:"require_pushed_authorization_requests"`
	IDTokenAlgorithm string   `json:"id_token_signed_response_alg"`
	SubjectType      string   `json:"subject_type"`
}

// registeredRelyingParty is a relying party that registered itself, as it is now.
type registeredRelyingParty struct {
	holding
	of     *Registrar
	client clients.Client
	kept   ClientRegistration
}

// relyingPartyOf turns metadata into a relying party within what the token allows. PKCE is not optional.
func (e *Registrar) relyingPartyOf(m *clientmetadata.Metadata, t InitialToken) (v clients.Client, kind string, r credentials.Registration, err error) {
	v = clients.Client{
		OrganizationID: t.OrganizationID, Name: m.Name, Type: clients.Type(m.ApplicationType), Authentication: credentials.Method(authentication(m)),
		RedirectURIs: m.RedirectURIs, Audiences: t.Audiences, RefreshTokens: m.Wants(clientmetadata.RefreshToken),
		RequirePushed: m.RequirePushed, RequireDPoP: m.RequireDPoP, RequireCertificate: m.BoundByTLS,
	}
	if err := grantsWithin(m, clientmetadata.AuthorizationCode, e.usable(v)); err != nil {
		return v, "", r, err
	}
	if !v.Public() {
		if kind, r, err = e.credentialOf(m); err != nil {
			return v, "", r, err
		}
	}
	asked := m.Scopes // those of signing in are everybody's
	if asked != nil {
		asked = slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return slices.Contains(e.cfg.SignInScopes, s) })
	}
	v.Scopes, err = scopesWithin(asked, t.Scopes)
	return v, kind, r, err
}

// usable is the grants a relying party may use if it asks for them: one that proves nothing exchanges nothing.
func (e *Registrar) usable(v clients.Client) []string {
	return slices.DeleteFunc(slices.Clone(e.cfg.RelyingPartyGrants), func(t string) bool {
		return v.Public() && t != clientmetadata.AuthorizationCode && t != clientmetadata.RefreshToken
	})
}

func (e *Registrar) registerRelyingParty(ctx context.Context, m *clientmetadata.Metadata, token InitialToken) (registrant, error) {
	v, kind, r, err := e.relyingPartyOf(m, token)
	if err != nil {
		return nil, err
	}
	prepared, err := e.cfg.RelyingParties.Prepare(v, r, token.lifetimeOf(kind))
	if err != nil {
		return nil, asMetadataError(err)
	}
	text, hash := e.cfg.Secrets.issue(registrationPrefix, token.OrganizationID, prepared.Client.ID.UUID())
	if err := e.cfg.Store.RegisterClient(ctx, registering(ctx), RegisteredClient{Prepared: prepared, Token: token, Hash: hash}); err != nil {
		return nil, err
	}
	c := &registeredRelyingParty{of: e, client: prepared.Client, holding: holding{issuer: issuers.From(ctx), token: text, secret: prepared.Secret}}
	if prepared.Credential != nil {
		c.credential = asHeld(*prepared.Credential)
	}
	return c, nil
}

// findRelyingParty is findAgent for a relying party.
func (e *Registrar) findRelyingParty(ctx context.Context, org agentid.Organization, id agentid.Client, text string, hash []byte) (registrant, error) {
	kept, err := e.cfg.Store.ClientRegistration(ctx, org, id)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(hash, kept.Hash) != 1 {
		return nil, errGone
	}
	c := &registeredRelyingParty{of: e, kept: kept, holding: holding{issuer: issuers.From(ctx), token: text, lifetime: kept.SecretLifetime}}
	if c.client, err = e.cfg.RelyingParties.Get(ctx, id); err != nil {
		return nil, err
	}
	credentials, err := e.cfg.RelyingParties.Credentials(ctx, id)
	if err != nil {
		return nil, err
	}
	all := make([]agents.Credential, 0, len(credentials))
	for _, credential := range credentials {
		all = append(all, asHeld(credential))
	}
	c.hold(all, c.client.Authentication.Kind(), e.cfg.Now())
	return c, nil
}

// asHeld leaves out whose credential it is.
func asHeld(c clients.Credential) agents.Credential {
	return agents.Credential{ID: c.ID, Kind: c.Kind, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt, LastUsedAt: c.LastUsedAt, Registration: c.Registration}
}

func (c *registeredRelyingParty) id() string { return c.client.ClientID() }

func (c *registeredRelyingParty) actor(ctx context.Context) audit.Actor {
	return audit.Actor{Kind: audit.KindClient, ID: c.id(), RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
}

func (c *registeredRelyingParty) describe() *information {
	v := c.client
	without := func(list []string, left string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !v.RefreshTokens && s == left })
	}
	i := c.holding.describe(c.id(), v.CreatedAt)
	i.Name, i.Authentication, i.RequireDPoP, i.BoundByTLS = v.Name, string(v.Authentication), v.RequireDPoP, v.RequireCertificate
	i.GrantTypes, i.ResponseTypes = without(c.of.usable(v), clientmetadata.RefreshToken), []string{clientmetadata.ResponseCode}
	i.Scope = strings.Join(slices.Concat(without(c.of.cfg.SignInScopes, c.of.cfg.RefreshScope), v.Scopes), " ")
	i.signInInformation = &signInInformation{
		RedirectURIs: v.RedirectURIs, ApplicationType: string(v.Type), RequirePushed: v.RequirePushed,
		IDTokenAlgorithm: clientmetadata.IDTokenAlgorithm, SubjectType: clientmetadata.SubjectType,
	}
	return i
}

func (c *registeredRelyingParty) remove(ctx context.Context) error {
	return c.of.cfg.RelyingParties.Delete(ctx, c.actor(ctx), c.client.ID, 0)
}

func (c *registeredRelyingParty) update(ctx context.Context, m *clientmetadata.Metadata) error {
	by, service := c.actor(ctx), c.of.cfg.RelyingParties
	sent, err := checkSecret(m, func(secret string) (agentid.Credential, error) {
		_, credential, err := service.AuthenticateSecret(ctx, c.id(), secret, c.client.Authentication)
		return credential, err
	})
	if err != nil {
		return err
	}
	next, kind, registered, err := c.of.relyingPartyOf(m, InitialToken{OrganizationID: c.client.OrganizationID, Scopes: c.kept.Scopes})
	if err != nil {
		return err
	}
	replaced, err := c.replaces(kind, &registered)
	if err != nil {
		return err
	}
	if c.client, err = service.Update(ctx, by, c.client.ID, c.client.Version, func(v *clients.Client) {
		v.Name, v.Type, v.Authentication, v.RedirectURIs, v.Scopes, v.RefreshTokens = next.Name, next.Type, next.Authentication, next.RedirectURIs, next.Scopes, next.RefreshTokens
		v.RequirePushed, v.RequireDPoP, v.RequireCertificate = next.RequirePushed, next.RequireDPoP, next.RequireCertificate
	}); err != nil {
		return asMetadataError(err)
	}
	if replaced { // at once, as an agent's
		return c.rotate(ctx, registered, 0)
	}
	now := c.of.cfg.Now()
	due, overlap := c.renewal(now, sent)
	switch {
	case !due:
		return nil
	case now.Before(c.credential.ExpiresAt):
		return c.rotate(ctx, credentials.Registration{}, overlap)
	}
	created, secret, err := service.CreateCredential(ctx, by, c.client.ID, kind, credentials.Registration{}, c.lifetime)
	c.credential, c.secret = asHeld(created), secret
	return asMetadataError(err)
}

func (c *registeredRelyingParty) rotate(ctx context.Context, r credentials.Registration, overlap time.Duration) error {
	old := clients.Credential{ID: c.credential.ID, ClientID: c.client.ID, Kind: c.credential.Kind}
	created, secret, err := c.of.cfg.RelyingParties.RotateCredential(ctx, c.actor(ctx), old, r, overlap)
	c.credential, c.secret = asHeld(created), secret
	return asMetadataError(err)
}
