package selfregistration

import (
	"context"
	"crypto/subtle"
	"errors"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientmetadata"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// registeredAgent is an agent that registered itself, as it is now.
type registeredAgent struct {
	holding
	of    *Registrar
	agent agents.Agent
	kept  Registration
}

// agentOf turns metadata into an agent within what the token allows.
func (e *Registrar) agentOf(m *clientmetadata.Metadata, t InitialToken) (create agents.Create, kind string, r credentials.Registration, err error) {
	if err := grantsWithin(m, clientmetadata.ClientCredentials, e.cfg.AgentGrants); err != nil {
		// The default of RFC 7591 s2 would be authorization_code: an agent has to say that it is none.
		return create, "", r, err
	}
	if kind, r, err = e.credentialOf(m); err != nil {
		return create, "", r, err
	}
	scopes, err := scopesWithin(m.Scopes, t.Scopes)
	if err != nil {
		return create, "", r, err
	}
	return agents.Create{
		OrganizationID: t.OrganizationID, Name: m.Name, Scopes: scopes, Audiences: t.Audiences, DPoPBound: m.RequireDPoP, CertificateBound: m.BoundByTLS,
	}, kind, r, nil
}

func (e *Registrar) registerAgent(ctx context.Context, m *clientmetadata.Metadata, token InitialToken) (registrant, error) {
	create, kind, r, err := e.agentOf(m, token)
	if err != nil {
		return nil, err
	}
	prepared, err := e.cfg.Agents.Prepare(create, kind, r, token.lifetimeOf(kind))
	if err != nil {
		return nil, asMetadataError(err)
	}
	text, hash := e.cfg.Secrets.issue(registrationPrefix, token.OrganizationID, prepared.Agent.ID.UUID())
	registered := Registered{Prepared: prepared, Token: token, Authentication: authentication(m), Hash: hash}
	if err := e.cfg.Store.RegisterAgent(ctx, registering(ctx), registered); err != nil {
		return nil, err
	}
	return &registeredAgent{
		of: e, agent: prepared.Agent, kept: Registration{Agent: prepared.Agent.ID, Authentication: registered.Authentication},
		holding: holding{issuer: issuers.From(ctx), token: text, credential: prepared.Credential, secret: prepared.Secret},
	}, nil
}

// findAgent is the agent a registration access token is of; NotFound or errGone when there is none any more.
func (e *Registrar) findAgent(ctx context.Context, org agentid.Organization, id agentid.Agent, text string, hash []byte) (registrant, error) {
	kept, err := e.cfg.Store.Registration(ctx, org, id)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(hash, kept.Hash) != 1 {
		return nil, errGone
	}
	agent, err := e.cfg.Agents.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if agent.Status != agents.Active {
		return nil, errGone
	}
	all, err := e.cfg.Agents.Credentials(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &registeredAgent{of: e, agent: agent, kept: kept, holding: holding{issuer: issuers.From(ctx), token: text, lifetime: kept.SecretLifetime}}
	c.hold(all, kinds[kept.Authentication], e.cfg.Now())
	return c, nil
}

func (c *registeredAgent) id() string { return c.agent.ID.String() }

func (c *registeredAgent) actor(ctx context.Context) audit.Actor {
	return audit.Actor{Kind: audit.KindAgent, ID: c.id(), RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
}

func (c *registeredAgent) describe() *information {
	i := c.holding.describe(c.id(), c.agent.CreatedAt)
	i.Name, i.GrantTypes, i.ResponseTypes, i.Scope = c.agent.Name, c.of.cfg.AgentGrants, []string{}, strings.Join(c.agent.Scopes, " ")
	i.RequireDPoP, i.BoundByTLS = c.agent.DPoPBound, c.agent.CertificateBound
	if !c.credential.ID.IsZero() { // without its credential it has no method either
		i.Authentication = c.kept.Authentication
	}
	return i
}

func (c *registeredAgent) remove(ctx context.Context) error {
	return c.of.cfg.Agents.Delete(ctx, c.actor(ctx), c.agent.ID, 0)
}

func (c *registeredAgent) update(ctx context.Context, m *clientmetadata.Metadata) error {
	by, service := c.actor(ctx), c.of.cfg.Agents
	sent, err := checkSecret(m, func(secret string) (agentid.Credential, error) {
		_, credential, err := service.AuthenticateSecret(ctx, c.id(), secret)
		return credential, err
	})
	if err != nil {
		return err
	}
	create, kind, registered, err := c.of.agentOf(m, InitialToken{OrganizationID: c.agent.OrganizationID, Scopes: c.kept.Scopes, Audiences: c.agent.Audiences})
	if err != nil {
		return err
	}
	replaced, err := c.replaces(kind, &registered)
	if err != nil {
		return err
	}
	if c.agent, err = service.Update(ctx, by, c.agent.ID, c.agent.Version, agents.Update{
		Name: &create.Name, Scopes: &create.Scopes, DPoPBound: &create.DPoPBound, CertificateBound: &create.CertificateBound,
	}); err != nil {
		return asMetadataError(err)
	}
	if method := authentication(m); method != c.kept.Authentication {
		if err := c.of.cfg.Store.UpdateRegistration(ctx, by, c.kept, method); err != nil {
			return asMetadataError(err)
		}
		c.kept.Authentication = method
	}
	if replaced {
		// At once: what is registered is what the client says now. One that needs an overlap names the old key beside the new one.
		c.credential, err = service.ReplaceCredential(ctx, by, c.agent.ID, c.credential.ID, kind, registered, 0)
		return asMetadataError(err)
	}
	return c.renew(ctx, sent)
}

func (c *registeredAgent) renew(ctx context.Context, sent agentid.Credential) (err error) {
	now := c.of.cfg.Now()
	due, overlap := c.renewal(now, sent)
	switch {
	case !due:
		return nil
	case now.Before(c.credential.ExpiresAt):
		c.credential, c.secret, err = c.of.cfg.Agents.RotateCredential(ctx, c.actor(ctx), c.agent.ID, c.credential.ID, overlap)
	default:
		c.credential, c.secret, err = c.of.cfg.Agents.CreateCredential(ctx, c.actor(ctx), c.agent.ID, c.lifetime)
	}
	return asMetadataError(err)
}

// lifetimeOf is how long a credential of a kind lives that is made with the token; 0: it does not expire.
func (t InitialToken) lifetimeOf(kind string) time.Duration {
	if kind != credentials.KindClientSecret {
		return 0
	}
	return t.SecretLifetime
}

// errGone is answered like NotFound.
var errGone = errors.New("the registration is not this token's, or its agent is not active")
