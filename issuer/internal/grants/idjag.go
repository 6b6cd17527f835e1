package grants

import (
	"context"
	"errors"
	"slices"

	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// asksForAssertion is draft-ietf-oauth-identity-assertion-authz-grant s4.1: the exchange is for an assertion that another authorization server redeems.
func asksForAssertion(f oauth.Form) bool { return f.Get("requested_token_type") == typeURNIDJAG }

// exchangeTargets is RFC 8693 s2.1: resource and audience both name where the token is to be used. For an assertion the audience is the other authorization server, and
// resource is for that one to judge.
func exchangeTargets(f oauth.Form) []string {
	if asksForAssertion(f) {
		return f.All("audience")
	}
	return slices.Concat(f.All("resource"), f.All("audience"))
}

// assert makes the token an ID-JAG. There is one audience, which is among the client's own like any other, and the client has a name there: the assertion says it, so that
// nobody else can redeem it.
func (x *exchange) assert(r *Request, clientID string, a *tokens.Authorization) error {
	refused := func(err error) error {
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "No assertion can be given for this audience.", Err: err}
	}
	if len(r.Form.All("audience")) != 1 || len(a.Audience) != 1 {
		return refused(errors.New("an assertion has one audience"))
	}
	partner, ok := x.Partners.Find(r.Agent.OrganizationID, a.Audience[0])
	client := partner.Clients[clientID]
	if !ok || client == "" {
		return refused(errors.New("the audience is no partner at which the client has a name"))
	}
	if len(a.Scopes) == 0 {
		return &oauth.Error{Code: oauth.InvalidScope, Description: "No scope is left. An assertion that says none would leave it to the other server how much the token may do."}
	}
	a.Assertion = &tokens.Assertion{ClientID: client, Resources: r.Form.All("resource")}
	return nil
}

// identifyRelyingParty lets relying parties in for one thing: what they were given when an agent signed in, for an assertion about that agent (s4.3). To act with an agent's access
// token is for agents.
func (x *exchange) identifyRelyingParty(ctx context.Context, r *Request, client clients.Client) (clientauth.AuthenticatedAgent, *RelyingParty, error) {
	f := r.Form
	refused := func(code oauth.Code, description string) (clientauth.AuthenticatedAgent, *RelyingParty, error) {
		return clientauth.AuthenticatedAgent{}, nil, &oauth.Error{Code: code, Description: description}
	}
	switch {
	case !asksForAssertion(f):
		return refused(oauth.UnauthorizedClient, "Relying parties exchange for an ID-JAG, and for nothing else.")
	case f.Get("subject_token") == "" || f.Get("subject_token_type") == "":
		return refused(oauth.InvalidRequest, "subject_token and subject_token_type are required.")
	case f.Get("subject_token_type") != TypeURNIDToken && f.Get("subject_token_type") != TypeURNRefreshToken:
		return refused(oauth.InvalidRequest, "Relying parties exchange ID tokens and refresh tokens.")
	case f.Has("actor_token") || f.Has("actor_token_type"):
		return refused(oauth.InvalidRequest, "For an assertion about a sign-in there is no actor.")
	}
	return x.IdentifySignIn(ctx, r, client)
}

// authorizeRelyingParty is the policy of s4.3.1: the other authorization server is one that both records name, and at which the relying party is known. Nobody acts: the client there is the client here.
func (x *exchange) authorizeRelyingParty(r *Request, a *tokens.Authorization) error {
	a.Audience = r.Form.All("audience")
	for _, audience := range a.Audience {
		if !slices.Contains(r.RelyingParty.Client.Audiences, audience) || !slices.Contains(a.Agent.Audiences, audience) {
			return &oauth.Error{Code: oauth.InvalidTarget, Description: "The client may not ask for assertions about the agent for this audience."}
		}
	}
	if err := x.assert(r, r.RelyingParty.Client.ClientID(), a); err != nil {
		return err
	}
	a.Assertion.Authentication = &r.RelyingParty.Authentication
	return nil
}
