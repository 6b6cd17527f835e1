package clientauth

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// RelyingParties are the registered ones, by the contract of Agents.
type RelyingParties interface {
	// AuthenticateSecret refuses a client that is not registered for the method, like any other failure.
	AuthenticateSecret(ctx context.Context, clientID, secret string, method credentials.Method) (clients.Client, agentid.Credential, error)
	Authenticate(ctx context.Context, clientID string, check credentials.Check) (clients.Client, agentid.Credential, error)
	Get(ctx context.Context, id agentid.Client) (clients.Client, error)
}

// Uses remembers what may be used once. agents.Service does.
type Uses interface {
	// UseUp fails with an issuance.UsedError for what was used before.
	UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error
}

// RelyingPartyAuthenticator authenticates relying parties: by every method that agents have, and one that is registered for none by its name alone.
// Those that nobody registered are known by their documents.
type RelyingPartyAuthenticator struct {
	parties   RelyingParties
	uses      Uses
	trust     Trust
	gate      Gate
	documents *Documents
}

// NewRelyingPartyAuthenticator returns one over those that are registered, and those that have documents (nil where they are not served), behind a gate.
func NewRelyingPartyAuthenticator(p RelyingParties, u Uses, t Trust, g Gate, d *Documents) *RelyingPartyAuthenticator {
	return &RelyingPartyAuthenticator{p, u, t, g, d}
}

// Find is the relying party a client_id names at an issuer; NotFound when there is none. Nothing is proven by it.
func (p *RelyingPartyAuthenticator) Find(ctx context.Context, issuer issuers.Issuer, clientID string) (clients.Client, error) {
	if clientdocument.Names(clientID) {
		return p.documents.find(ctx, clientID)
	}
	id, err := agentid.Parse[agentid.Client](clientID)
	if err != nil {
		return clients.Client{}, unknownClient(nil)
	}
	c, err := p.parties.Get(ctx, id)
	if err == nil && !issuer.Admits(c.OrganizationID) {
		return clients.Client{}, unknownClient(nil)
	}
	return c, err
}

func (p *RelyingPartyAuthenticator) authenticate(ctx context.Context, presented proof) (clients.Client, credentials.Method, error) {
	c, public, err := p.public(ctx, presented)
	if public || err != nil {
		return c, credentials.None, err
	}
	if p.documents != nil && clientdocument.Names(presented.client()) {
		c, _, method, err := prove(ctx, presented, &p.documents.trust, p.uses.UseUp, p.gate, p.documents.registry())
		return c, method, err
	}
	c, _, method, err := prove(ctx, presented, &p.trust, p.uses.UseUp, p.gate, registry[clients.Client]{
		bySecret: func(ctx context.Context, s secret) (clients.Client, agentid.Credential, error) {
			return p.parties.AuthenticateSecret(ctx, s.id, s.value, s.method)
		},
		byCheck: p.parties.Authenticate,
	})
	return c, method, err
}

// public is the relying party that a request names without a proof, if it needs none. The certificate of the connection is no proof of such a client: it is what its
// tokens may be bound to (RFC 8705 s4).
func (p *RelyingPartyAuthenticator) public(ctx context.Context, presented proof) (clients.Client, bool, error) {
	switch presented.(type) {
	case nothing, certificate:
	default:
		return clients.Client{}, false, nil
	}
	c, err := p.Find(ctx, issuers.From(ctx), presented.client())
	if err != nil && problem.KindOf(err) != problem.NotFound {
		return clients.Client{}, false, asOAuth(err)
	}
	if err != nil || !c.Public() {
		return clients.Client{}, false, nil
	}
	return c, true, nil
}
