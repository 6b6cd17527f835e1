package grants

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// RelyingParty is the relying party that sent a request, and what the sign-in granted it. The agent of such a request (Request.Agent) is the one that signed in.
type RelyingParty struct {
	Client clients.Client
	// Scopes and Audience are what the sign-in granted, narrowed by what the request asks for: the token gets them as they are.
	Scopes   []string
	Audience []string
	// Details are those the sign-in granted, RFC 9396; nil for none. The request narrows them.
	Details json.RawMessage

	SignIn         agentid.SignIn
	Authentication tokens.Authentication // of the agent, when it signed in
	Nonce          string                // for the ID token; "" for none
	NotAfter       time.Time             // nothing that comes of the request lives longer; zero for no such end
}

// Identify finds the sign-in that the request of a relying party is about: the agent, and the credential it signed in with. Every error is an *oauth.Error.
type Identify func(ctx context.Context, request *Request, client clients.Client) (clientauth.AuthenticatedAgent, *RelyingParty, error)

// identify fills in of whom a request is: of the agent that sent it, or of the one that signed in to the relying party that did.
func identify(ctx context.Context, request *Request, grant Grant, sender clientauth.Sender) error {
	request.Agent, request.Method = sender.Agent, sender.Method
	if sender.RelyingParty != nil {
		var err error
		if request.Agent, request.RelyingParty, err = grant.Identify(ctx, request, *sender.RelyingParty); err != nil {
			return err
		}
	}
	if !request.Issuer.Admits(request.Agent.OrganizationID) { // the answer to a client that does not exist
		return &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed."}
	}
	agent := request.Agent
	request.Issuance.OrganizationID, request.Issuance.Agent, request.Issuance.Credential = agent.OrganizationID, agent.ID, agent.Credential
	return nil
}

// binding says what the client's tokens must be bound to.
func (r *Request) binding() (key, certificate bool) {
	if r.RelyingParty != nil {
		return r.RelyingParty.Client.RequireDPoP, r.RelyingParty.Client.RequireCertificate
	}
	return r.Agent.DPoPBound, r.Agent.CertificateBound
}

// actor is the client, as the audit log names it.
func (r *Request) actor() audit.Actor {
	if r.RelyingParty != nil {
		return audit.Actor{Kind: audit.KindClient, ID: r.RelyingParty.Client.ClientID()}
	}
	return audit.Actor{Kind: audit.KindAgent, ID: r.Agent.ID.String()}
}

// dead is the answer when the agent was suspended, or its credential deleted, since the request began. To a relying party that is the end of its grant.
func (r *Request) dead(err error) *oauth.Error {
	if r.RelyingParty != nil {
		return &oauth.Error{Code: oauth.InvalidGrant, Description: "The agent is not signed in any more.", Err: err}
	}
	return &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed.", Err: err}
}

// used tells the grant that what it was asked for twice was given once.
func (g Grant) used(ctx context.Context, r *Request, used *issuance.UsedError) {
	if g.Used != nil && used.Purpose == issuance.UseSignIn {
		g.Used(ctx, r)
	}
}

// allowedRelyingParty is the policy for relying parties: the sign-in granted it, the grant has narrowed it, and of its details there are those that the request asks for (RFC 9396 s6).
func allowedRelyingParty(r *Request) (tokens.Authorization, error) {
	a := tokens.Authorization{
		Issuer: r.Issuer, Agent: r.Agent.Agent, Credential: r.Agent.Credential, RelyingParty: r.RelyingParty.Client.ClientID(), SignIn: r.RelyingParty.SignIn,
		Audience: r.RelyingParty.Audience, Scopes: r.RelyingParty.Scopes, Confirmation: r.Confirmation, NotAfter: r.RelyingParty.NotAfter, NotBefore: r.RelyingParty.Authentication.At,
	}
	var err error
	if a.Details, err = oauth.ParseAuthorizationDetails(r.Form.Get("authorization_details")); err != nil {
		return a, err
	}
	if a.Details == nil {
		a.Details = r.RelyingParty.Details // as they were written
		return a, nil
	}
	granted, err := detailsList(r.RelyingParty.Details)
	if err != nil {
		return a, err
	}
	return a, narrowDetails(granted, &a)
}
