package signin

import (
	"context"
	"errors"
	"time"

	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// IdentifyForAssertion is the grants.Identify of draft-ietf-oauth-identity-assertion-authz-grant s4.3: a relying party shows that an agent is signed in to it, by the ID token or a refresh token of
// the sign-in, to be given an assertion about the agent. Nothing is used up by it. Whether the sign-in lives, the agent is still active and the credential still there that it signed in with, is
// decided when the assertion is recorded.
func (g *Grants) IdentifyForAssertion(ctx context.Context, request *grants.Request, client clients.Client) (clientauth.AuthenticatedAgent, *grants.RelyingParty, error) {
	if client.Public() { // s8.1: the other server has to know that it is given to who it is for
		return clientauth.AuthenticatedAgent{}, nil, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "A client that does not authenticate is given no assertions."}
	}
	if client.Document != "" { // what a partner is told of our clients is what somebody here registered
		return clientauth.AuthenticatedAgent{}, nil, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "A client that nobody registered is given no assertions."}
	}
	s, end, err := g.shown(ctx, request, client)
	if err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	agent, err := g.agent(ctx, s)
	if err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	party := &grants.RelyingParty{Client: client, Details: s.Details, SignIn: s.ID, Authentication: s.Authentication, NotAfter: end}
	if party.Scopes, err = assertionScopes(s, request.Form, client, agent); err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	request.Issuance.Details = map[string]any{"signInId": s.ID.String()}
	request.Issuance.Holders = []issuance.Holder{{Agent: s.Agent, Credential: s.Credential, IssuedAt: s.Authentication.At}}
	request.Issuance.MadeOf = s.ID
	return clientauth.AuthenticatedAgent{Agent: agent, Credential: s.Credential}, party, nil
}

// shown is the sign-in that the client shows to have, and the end of what it shows.
func (g *Grants) shown(ctx context.Context, r *grants.Request, client clients.Client) (SignIn, time.Time, error) {
	text := r.Form.Get("subject_token")
	if r.Form.Get("subject_token_type") == grants.TypeURNRefreshToken {
		s, err := g.identifyRefresh(ctx, r, client, text)
		return s, earlier(s.ExpiresAt, s.RefreshExpiresAt), err
	}
	token, err := tokens.ReadIDToken(r.Issuer, text, client.ClientID(), r.Now)
	if err != nil {
		return SignIn{}, time.Time{}, invalidGrant(err)
	}
	s, err := g.signIn(ctx, r, client, token.SignIn)
	switch {
	case err != nil:
	case s.Agent != token.Subject:
		err = invalidGrant(errors.New("the ID token is about another agent"))
	case !s.RevokedAt.IsZero(), !r.Now.Before(s.ExpiresAt):
		err = invalidGrant(errors.New("the sign-in is over"))
	}
	return s, earlier(s.ExpiresAt, token.ExpiresAt), err
}
