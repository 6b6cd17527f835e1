package clientauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// None is no method: a relying party that cannot keep a secret says who it is (RFC 7591 s2).
const None = Method(clients.None)

// Secrets looks relying parties up and checks their secrets, by the contract of Agents.
type Secrets interface {
	AuthenticateSecret(ctx context.Context, clientID, secret string, method clients.Authentication) (clients.Client, error)
	Get(ctx context.Context, id agentid.Client) (clients.Client, error)
}

// Parties authenticates relying parties.
type Parties struct{ secrets Secrets }

// NewParties returns Parties over those that are registered.
func NewParties(s Secrets) *Parties { return &Parties{s} }

// Find is the relying party a client_id names at an issuer; NotFound when there is none. Nothing is proven by it.
func (p *Parties) Find(ctx context.Context, issuer issuers.Issuer, clientID string) (clients.Client, error) {
	unknown := &problem.Error{Kind: problem.NotFound, Code: "client_not_found", Detail: "there is no such client"}
	id, err := agentid.Parse[agentid.Client](clientID)
	if err != nil {
		return clients.Client{}, unknown
	}
	c, err := p.secrets.Get(ctx, id)
	if err == nil && !issuer.Admits(c.OrganizationID) {
		return clients.Client{}, unknown
	}
	return c, err
}

// Authenticate returns the relying party that sent a request, or an *oauth.Error. One that is registered for none proves nothing here.
func (p *Parties) Authenticate(r *http.Request, form oauth.Form) (clients.Client, Method, error) {
	ctx, issuer := r.Context(), issuers.From(r.Context())
	if len(r.Header.Values("Authorization")) == 0 && !form.Has("client_secret") && !form.Has("client_assertion") && form.Has("client_id") {
		c, err := p.Find(ctx, issuer, form.Get("client_id"))
		if err == nil && !c.Public() {
			err = agents.ErrAuthentication
		}
		return c, None, authenticationError(err)
	}
	presented, err := read(r, form)
	if err != nil {
		return clients.Client{}, "", err
	}
	claim, ok := presented.(secret)
	if !ok {
		return clients.Client{}, "", failed(errors.New("relying parties authenticate by a secret"))
	}
	c, err := p.secrets.AuthenticateSecret(ctx, claim.id, claim.value, clients.Authentication(claim.method))
	if err == nil && !issuer.Admits(c.OrganizationID) {
		err = agents.ErrAuthentication
	}
	return c, claim.method, authenticationError(err)
}

func authenticationError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, agents.ErrAuthentication), problem.KindOf(err) == problem.NotFound:
		return failed(nil)
	case problem.KindOf(err) == problem.Unavailable:
		return oauth.Unavailable(err)
	}
	return oauth.Internal(err)
}
