package grants

import (
	"errors"
	"slices"

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
func (x *exchange) assert(r *Request, a *tokens.Authorization) error {
	refused := func(err error) error {
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "No assertion can be given for this audience.", Err: err}
	}
	if len(r.Form.All("audience")) != 1 || len(a.Audience) != 1 {
		return refused(errors.New("an assertion has one audience"))
	}
	partner, ok := x.Partners.Find(r.Client.Agent.OrganizationID, a.Audience[0])
	client := partner.Clients[r.Client.Agent.ID]
	if !ok || client == "" {
		return refused(errors.New("the audience is no partner at which the client has a name"))
	}
	a.Assertion = &tokens.Assertion{ClientID: client, Resources: r.Form.All("resource")}
	return nil
}
