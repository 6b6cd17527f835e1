package grants

import (
	"context"
	"errors"
	"slices"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/federation"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// The token types of RFC 8693 s3 that are used.
const (
	typeURNAccessToken  = "urn:ietf:params:oauth:token-type:access_token"
	typeURNJWT          = "urn:ietf:params:oauth:token-type:jwt"
	TypeURNIDToken      = "urn:ietf:params:oauth:token-type:id_token"      // of relying parties alone
	TypeURNRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token" // of relying parties alone
	typeURNIDJAG        = "urn:ietf:params:oauth:token-type:id-jag"        // draft-ietf-oauth-identity-assertion-authz-grant s4.1
)

// ActorsMaxDefault is how many may act for a subject, one through the other.
const ActorsMaxDefault = 4

// Agents looks agents up.
type Agents interface {
	Get(ctx context.Context, id agentid.Agent) (agents.Agent, error)
}

// Judge says what a token of ours is worth at this moment: verified, and compared with everything that may have been revoked since. tokenstate.Judge implements it.
type Judge interface {
	Check(ctx context.Context, issuer issuers.Issuer, text string) (*tokenstate.Token, error)
}

// ExchangeConfig is what the token exchange needs. Everything is required.
type ExchangeConfig struct {
	Agents         Agents
	Judge          Judge
	Partners       *federation.Partners       // to whom assertions are given
	IdentifySignIn Identify                   // finds the sign-in that a relying party's ID token or refresh token is of
	DIDs           func(agentid.Agent) string // an agent's DID, by which a subject token may name its actor too
	ActorsMax      int                        // 1 to tokens.ActorsMax
}

// TokenExchange is RFC 8693: an agent that was sent a token asks for one of its own, to act for its subject somewhere else. The token says both: sub is the
// subject's, act begins with the agent. It has no more scopes, no more details and no more time than the token it is made from, is for no audience that the subject may not ask for too, and dies with everybody in it.
func TokenExchange(cfg ExchangeConfig) (Grant, error) {
	if cfg.Agents == nil || cfg.Judge == nil || cfg.Partners == nil || cfg.IdentifySignIn == nil || cfg.DIDs == nil || cfg.ActorsMax < 1 || cfg.ActorsMax > tokens.ActorsMax {
		return Grant{}, errors.New("token exchange: the configuration is not complete")
	}
	x := &exchange{cfg}
	return Grant{
		Type:      "urn:ietf:params:oauth:grant-type:token-exchange",
		Identify:  x.identifyRelyingParty,
		Agents:    true,
		Targets:   exchangeTargets,
		Authorize: x.authorize,
		Complete: func(_ context.Context, r *Request, _ tokens.AccessToken, answer *oauth.TokenResponse) error {
			answer.IssuedTokenType = typeURNAccessToken // s2.2.1
			if asksForAssertion(r.Form) {
				answer.IssuedTokenType, answer.TokenType = typeURNIDJAG, oauth.NoType
			}
			return nil
		},
	}, nil
}

type exchange struct{ ExchangeConfig }

// unacceptable is s2.2.2: one answer for every subject or actor token that is not accepted, so that nobody learns from it what is wrong with a stranger's token.
func unacceptable(what string, err error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "The " + what + " is not acceptable.", Err: err}
}

func (x *exchange) authorize(ctx context.Context, r *Request, a *tokens.Authorization) error {
	if r.RelyingParty != nil {
		return x.authorizeRelyingParty(r, a)
	}
	if err := checkExchangeForm(r.Form); err != nil {
		return err
	}
	subject, err := x.given(ctx, r, "subject_token")
	if err != nil {
		return err
	}
	if err := x.mayAct(r, subject); err != nil {
		return unacceptable("subject_token", err)
	}
	if err := x.checkActorToken(ctx, r, a); err != nil {
		return err
	}
	if err := x.speakFor(ctx, r, subject, a); err != nil {
		return err
	}
	if err := narrow(r, subject, a); err != nil {
		return err
	}
	if asksForAssertion(r.Form) {
		return x.assert(r, r.Agent.ID.String(), a)
	}
	return nil
}

// given is the token of a parameter: ours, alive, and sent by somebody who holds what it is bound to. Whom it speaks of is looked at again when the new one is recorded.
func (x *exchange) given(ctx context.Context, r *Request, parameter string) (*ownToken, error) {
	judged, err := x.Judge.Check(ctx, r.Issuer, r.Form.Get(parameter))
	if errors.Is(err, tokenstate.ErrInactive) {
		return nil, unacceptable(parameter, err)
	}
	if err != nil {
		return nil, oauth.From(err)
	}
	t, err := readOwn(judged)
	if err == nil {
		err = holds(r, t.Confirmation)
	}
	if err != nil {
		return nil, unacceptable(parameter, err)
	}
	for _, h := range judged.Holders {
		r.Issuance.Holders = append(r.Issuance.Holders, issuance.Holder{Agent: h.Agent, Credential: h.Credential, IssuedAt: t.issued()})
	}
	return t, nil
}

// checkExchangeForm is s2.1: what must be there, and of a type that is known.
func checkExchangeForm(f oauth.Form) error {
	refused := func(description string) error {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: description}
	}
	known := []string{typeURNAccessToken, typeURNJWT}
	switch actor, actorType := f.Get("actor_token"), f.Get("actor_token_type"); {
	case f.Get("subject_token") == "" || f.Get("subject_token_type") == "":
		return refused("subject_token and subject_token_type are required.")
	case !slices.Contains(known, f.Get("subject_token_type")):
		return refused("This subject_token_type is not accepted.")
	case (actor == "") != (actorType == ""):
		return refused("actor_token and actor_token_type come together.")
	case actor != "" && !slices.Contains(known, actorType):
		return refused("This actor_token_type is not accepted.")
	case !slices.Contains([]string{"", typeURNAccessToken, typeURNIDJAG}, f.Get("requested_token_type")):
		return refused("This requested_token_type is not issued.")
	}
	return nil
}

// mayAct says who may exchange a token: the client it was issued to, an agent it was meant for (its audience is one that the agent serves), and whom it names
// itself in may_act (s4.4). Everybody else has found it somewhere.
func (x *exchange) mayAct(r *Request, subject *ownToken) error {
	client := r.Agent.Agent
	if subject.Organization != client.OrganizationID {
		return errors.New("the token is of another organization")
	}
	if mayAct, present := subject.Claims.Extra["may_act"]; present {
		return named(r, mayAct, x.DIDs)
	}
	served := func(audience string) bool { return slices.Contains(client.Serves, audience) }
	if subject.ClientID == client.ID.String() || slices.ContainsFunc(subject.Claims.Audience, served) {
		return nil
	}
	return errors.New("the token was neither issued to the client nor meant for it")
}

// named reads may_act. Each member narrows whom it names, so one that is not known names nobody we could recognise.
func named(r *Request, mayAct any, dids func(agentid.Agent) string) error {
	members, _ := mayAct.(map[string]any)
	id := r.Agent.ID
	for name, value := range members {
		switch {
		case name == "sub" && (value == id.String() || value == dids(id)), name == "client_id" && value == id.String(), name == "iss" && value == r.Issuer.ID:
		default:
			return errors.New("may_act names somebody else")
		}
	}
	if members["sub"] == nil && members["client_id"] == nil {
		return errors.New("may_act names nobody")
	}
	return nil
}

// checkActorToken is for clients that send one: the actor is always the client, so it must be the client's own, and nobody may act for the client in it.
func (x *exchange) checkActorToken(ctx context.Context, r *Request, a *tokens.Authorization) error {
	if r.Form.Get("actor_token") == "" {
		return nil
	}
	actor, err := x.given(ctx, r, "actor_token")
	if err != nil {
		return err
	}
	if id := r.Agent.ID.String(); actor.Claims.Subject != id || actor.ClientID != id || len(actor.Actors) > 0 || actor.Credential != r.Agent.Credential {
		return unacceptable("actor_token", errors.New("the token is not the client's own"))
	}
	a.NotAfter, a.NotBefore = actor.expires(), actor.issued()
	return nil
}

// holds wants the proof of what the token is bound to (RFC 9449 s5, RFC 8705 s3): without it a stolen bound token would be exchanged for a good one.
func holds(r *Request, bound tokens.Confirmation) error {
	if k := bound.KeyThumbprint; k != "" && k != r.Confirmation.KeyThumbprint {
		return errors.New("the token is bound to a key that was not proven")
	}
	if c := bound.CertificateSHA256; c != "" && c != r.Certificate {
		return errors.New("the token is bound to a certificate that was not used")
	}
	return nil
}
