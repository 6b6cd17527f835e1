package clientauth

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// proof is what a request presents. Nothing of it is believed before prove: client says whose it claims to be, and so where that client is registered.
type proof interface{ client() string }

// checked is a proof that is held against what is registered, whichever kind of client that is of.
type checked interface {
	proof
	// check is an credentials.Check that says more of what it found.
	check(ctx context.Context, t *Trust, registered []credentials.Registered) (proven, error)
}

var _ = []checked{assertion{}, certificate{}}

// proven is a proof with which nothing is wrong.
type proven struct {
	credential agentid.Credential
	method     credentials.Method
	use        *issuance.SingleUse // what may be used once; nil for nothing
}

// registrant is a client of either kind.
type registrant interface{ Organization() agentid.Organization }

// registry is where clients of one kind are registered. Both ways of asking it keep the contract of Agents.
type registry[C registrant] struct {
	anywhere bool // its clients belong to no organization, and are clients of every issuer
	bySecret func(ctx context.Context, s secret) (C, agentid.Credential, error)
	byCheck  func(ctx context.Context, clientID string, check credentials.Check) (C, agentid.Credential, error)
}

// useUp fails with an issuance.UsedError for what was used before. org is that of the client, zero when it has none.
type useUp func(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error

// prove authenticates the client of a registry that a proof names, behind the gate: the one way there is for every kind of proof and of client. Every error is an
// *oauth.Error. What may be used once is used up last, when all else is in order; only then is the request the client's, and not one of somebody who claims to be it.
func prove[C registrant](ctx context.Context, p proof, t *Trust, use useUp, g Gate, r registry[C]) (C, agentid.Credential, credentials.Method, error) {
	var none C
	if _, empty := p.(nothing); empty {
		return none, agentid.Credential{}, "", errUnproven()
	}
	if err := g.Admit(ctx, p.client()); err != nil {
		return none, agentid.Credential{}, "", asOAuth(err)
	}
	client, found, err := r.find(ctx, p, t)
	if err == nil && !r.anywhere && !issuers.From(ctx).Admits(client.Organization()) {
		err = failed(errOtherOrganization)
	}
	if err == nil && found.use != nil {
		err = use(ctx, client.Organization(), *found.use)
	}
	if err != nil {
		failure := asOAuth(err)
		if failure.Code == oauth.InvalidClient {
			g.Failed(ctx, p.client())
		}
		return none, agentid.Credential{}, "", failure
	}
	if err := g.Authenticated(ctx, p.client(), client.Organization()); err != nil {
		return none, agentid.Credential{}, "", asOAuth(err)
	}
	return client, found.credential, found.method, nil
}

// find is the registered client with the credential that the proof is of.
func (r registry[C]) find(ctx context.Context, p proof, t *Trust) (client C, found proven, err error) {
	switch p := p.(type) {
	case secret:
		found.method = p.method
		client, found.credential, err = r.bySecret(ctx, p)
	case checked:
		client, _, err = r.byCheck(ctx, p.client(), func(ctx context.Context, registered []credentials.Registered) (_ agentid.Credential, err error) {
			found, err = p.check(ctx, t, registered)
			return found.credential, err
		})
	default:
		err = errUnproven()
	}
	return client, found, err
}

func errUnproven() *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: "The client must authenticate."}
}
