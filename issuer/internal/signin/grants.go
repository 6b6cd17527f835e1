package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// Agents looks agents up. agents.Service implements it.
type Agents interface {
	Get(ctx context.Context, id agentid.Agent) (agents.Agent, error)
}

// IDTokens signs ID tokens. tokens.Minter implements it.
type IDTokens interface {
	IDToken(s tokens.SignedIn) (string, error)
}

// Grants are the grants of relying parties at the token endpoint. Everything is required.
type Grants struct {
	Agents   Agents
	Store    Store
	Secrets  Secrets
	IDTokens IDTokens
}

// The reasons for the end of a sign-in, as the audit log has them.
const (
	reasonCodeReused    = "code_reused"
	reasonWrongVerifier = "code_verifier_wrong"
	reasonRefreshReused = "refresh_token_reused"
	reasonDocument      = "client_document_changed"
)

// AuthorizationCode is RFC 6749 s4.1.3.
func (g *Grants) AuthorizationCode() grants.Grant {
	return g.grant("authorization_code", g.identifyCode, reasonCodeReused)
}

// RefreshToken is RFC 6749 s6. Each use replaces the token (RFC 9700 s4.14.2).
func (g *Grants) RefreshToken() grants.Grant {
	by := func(ctx context.Context, r *grants.Request, client clients.Client) (SignIn, error) {
		return g.identifyRefresh(ctx, r, client, r.Form.Get("refresh_token"))
	}
	return g.grant("refresh_token", by, reasonRefreshReused)
}

// identifyBy finds the sign-in for a client, or ends it because what was presented must not be presented again.
type identifyBy func(ctx context.Context, r *grants.Request, client clients.Client) (SignIn, error)

func (g *Grants) grant(grantType string, by identifyBy, reused string) grants.Grant {
	return grants.Grant{
		Type: grantType,
		Identify: func(ctx context.Context, request *grants.Request, client clients.Client) (clientauth.AuthenticatedAgent, *grants.RelyingParty, error) {
			return g.identify(ctx, request, client, by)
		},
		Authorize: authorize,
		Complete:  g.complete,
		Used: func(ctx context.Context, r *grants.Request) {
			// Two at the same time are no better than one after the other. When it cannot be recorded the answer is a refusal all the same.
			if err := g.revoke(ctx, r.RelyingParty.Client, r.Agent.OrganizationID, r.Issuance.SignIn.ID, reused); err != nil {
				web.Note(ctx, err)
			}
		},
	}
}

// identify is which agent a request of the client is about. Whether that is still active is decided when the token is recorded.
func (g *Grants) identify(ctx context.Context, request *grants.Request, client clients.Client, by identifyBy) (clientauth.AuthenticatedAgent, *grants.RelyingParty, error) {
	s, err := by(ctx, request, client)
	if err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	agent, err := g.agent(ctx, s)
	if err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	party := &grants.RelyingParty{Client: client, Details: s.Details, SignIn: s.ID, Authentication: s.Authentication, Nonce: s.Nonce}
	if party.Scopes, err = narrowScopes(s, request.Form, client, agent); err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	if party.Audience, err = narrowAudience(s, request.Form, client, agent); err != nil {
		return clientauth.AuthenticatedAgent{}, nil, err
	}
	live := s.LiveTokens(request.Now)
	if len(live) >= liveTokensMax {
		return clientauth.AuthenticatedAgent{}, nil, &oauth.Error{
			Code: oauth.TemporarilyUnavailable, Description: "Too many access tokens of this sign-in are alive.", Status: http.StatusTooManyRequests,
			RetryAfter: live[0].ExpiresAt.Sub(request.Now),
		}
	}
	request.Issuance.Details = map[string]any{"signInId": s.ID.String()}
	request.Issuance.Holders = []issuance.Holder{{Agent: s.Agent, Credential: s.Credential, IssuedAt: s.Authentication.At}}
	request.Issuance.SignIn = &issuance.SignInStep{
		ID: s.ID, Was: s.RefreshHash, ExpiresAt: s.CreatedAt.Add(RefreshTotalMax), KeyThumbprint: bound(s, client), CertificateSHA256: s.Confirmation.CertificateSHA256, Tokens: live,
	}
	return clientauth.AuthenticatedAgent{Agent: agent, Credential: s.Credential}, party, nil
}

// agent is the record, as it is now, of the agent that signed in.
func (g *Grants) agent(ctx context.Context, s SignIn) (agents.Agent, error) {
	agent, err := g.Agents.Get(ctx, s.Agent)
	switch {
	case err == nil:
		return agent, nil
	case problem.KindOf(err) == problem.NotFound:
		return agents.Agent{}, invalidGrant(err)
	}
	return agents.Agent{}, oauth.From(err)
}

// bound is the key that the request has to prove: that of the code (RFC 9449 s10), later that of the refresh token. The refresh tokens of a client that authenticates are bound to the client by
// that (s5): it may change its key, and a client that lost one goes on with the next.
func bound(s SignIn, client clients.Client) string {
	switch {
	case s.RedeemedAt.IsZero():
		return s.CodeKey
	case client.Public():
		return s.Confirmation.KeyThumbprint
	}
	return ""
}

// identifyCode checks a code in the order in which what is wrong with it matters: a code that is not the client's is nobody's business, one that comes back ends
// what came of it.
func (g *Grants) identifyCode(ctx context.Context, r *grants.Request, client clients.Client) (SignIn, error) {
	s, hash, err := g.find(ctx, r, client, codePrefix, r.Form.Get("code"))
	if err != nil {
		return SignIn{}, err
	}
	switch {
	case subtle.ConstantTimeCompare(hash, s.CodeHash) != 1:
		return SignIn{}, invalidGrant(errors.New("another code than was issued"))
	case !s.RedeemedAt.IsZero(): // RFC 6749 s4.1.2
		return SignIn{}, g.end(ctx, client, s, reasonCodeReused)
	case !s.RevokedAt.IsZero(), !r.Now.Before(s.CodeExpiresAt):
		return SignIn{}, invalidGrant(errors.New("the code is expired or was ended"))
	case r.Form.Get("redirect_uri") != s.RedirectURI:
		return SignIn{}, invalidGrant(errors.New("another redirect_uri"))
	case !verifies(r.Form.Get("code_verifier"), s.CodeChallenge): // injected into somebody's session, or stolen
		return SignIn{}, g.end(ctx, client, s, reasonWrongVerifier)
	case client.Document != "" && !client.Redirects(s.RedirectURI):
		return SignIn{}, g.end(ctx, client, s, reasonDocument)
	}
	return s, nil
}

// identifyRefresh tells a token that was replaced, which is in two hands, from the current one.
func (g *Grants) identifyRefresh(ctx context.Context, r *grants.Request, client clients.Client, text string) (SignIn, error) {
	s, hash, err := g.find(ctx, r, client, refreshPrefix, text)
	if err != nil {
		return SignIn{}, err
	}
	s.Nonce = "" // OpenID Connect Core s12.2
	switch {
	case !s.RevokedAt.IsZero(), !r.Now.Before(s.ExpiresAt), !r.Now.Before(s.RefreshExpiresAt):
		return SignIn{}, invalidGrant(errors.New("the sign-in is over"))
	case subtle.ConstantTimeCompare(hash, s.RefreshHash) != 1:
		return SignIn{}, g.end(ctx, client, s, reasonRefreshReused)
	case client.Document != "" && (!client.RefreshTokens || !client.Redirects(s.RedirectURI)): // what the agent signed in to is not what the document says now
		return SignIn{}, g.end(ctx, client, s, reasonDocument)
	case !client.RefreshTokens:
		return SignIn{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "The client may not use refresh tokens any more."}
	}
	return s, nil
}

// find reads what was presented. Everything that is not of this client at this issuer is one answer.
func (g *Grants) find(ctx context.Context, r *grants.Request, client clients.Client, prefix, text string) (SignIn, []byte, error) {
	if text == "" {
		return SignIn{}, nil, invalid("The code or refresh_token is missing.")
	}
	id, hash, ok := g.Secrets.open(prefix, text)
	if !ok {
		return SignIn{}, nil, invalidGrant(errors.New("not one of ours"))
	}
	s, err := g.signIn(ctx, r, client, id)
	return s, hash, err
}

func (g *Grants) signIn(ctx context.Context, r *grants.Request, client clients.Client, id agentid.SignIn) (SignIn, error) {
	s, err := signInOf(ctx, g.Store, client.OrganizationID, client.ClientID(), id)
	switch {
	case problem.KindOf(err) == problem.NotFound:
		return SignIn{}, invalidGrant(err)
	case err != nil:
		return SignIn{}, oauth.From(err)
	case s.Client != client.ClientID() || s.Issuer != r.Issuer.ID:
		return SignIn{}, invalidGrant(errors.New("of another client or issuer"))
	}
	return s, nil
}

// end revokes a sign-in and gives the answer to whoever caused it. One that went meanwhile with its agent or its client has ended, too.
func (g *Grants) end(ctx context.Context, client clients.Client, s SignIn, reason string) error {
	if err := g.revoke(ctx, client, s.OrganizationID, s.ID, reason); err != nil && problem.KindOf(err) != problem.NotFound {
		return oauth.From(err)
	}
	return invalidGrant(errors.New(reason))
}

func (g *Grants) revoke(ctx context.Context, client clients.Client, org agentid.Organization, id agentid.SignIn, reason string) error {
	actor := audit.Actor{Kind: audit.KindClient, ID: client.ClientID(), RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
	return g.Store.RevokeSignIn(ctx, actor, org, id, reason)
}

// verifies is RFC 7636 s4.6. Without a challenge there must be no verifier: else an attacker could strip the challenge off (RFC 9700 s4.8.2).
func verifies(verifier, challenge string) bool {
	if challenge == "" || verifier == "" {
		return challenge == verifier
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// authorize checks possession of what the code or the refresh token is bound to, and binds the next refresh token of a client that has nothing else to prove itself with to what was
// proven (RFC 9449 s5, RFC 8705 s4). Others may take another key, and renew their certificate. The access token is bound to it always (package grants).
func authorize(_ context.Context, r *grants.Request, a *tokens.Authorization) error {
	step := r.Issuance.SignIn
	if step.KeyThumbprint != "" && step.KeyThumbprint != r.Confirmation.KeyThumbprint {
		return invalidGrant(errors.New("bound to another key"))
	}
	if step.CertificateSHA256 != "" && step.CertificateSHA256 != r.Certificate {
		return invalidGrant(errors.New("bound to another certificate"))
	}
	step.KeyThumbprint = ""
	if r.RelyingParty.Client.Public() {
		step.KeyThumbprint = r.Confirmation.KeyThumbprint
		if step.CertificateSHA256 == "" {
			step.CertificateSHA256 = r.Confirmation.CertificateSHA256
		}
	}
	a.NotAfter = step.ExpiresAt
	return nil
}

// complete adds the ID token and the next refresh token, and says what the sign-in is from now on.
func (g *Grants) complete(_ context.Context, r *grants.Request, t tokens.AccessToken, answer *oauth.TokenResponse) error {
	step, party := r.Issuance.SignIn, r.RelyingParty
	openID := slices.Contains(party.Scopes, OpenID)
	if openID {
		var err error
		answer.IDToken, err = g.IDTokens.IDToken(tokens.SignedIn{
			Issuer: r.Issuer, Agent: r.Agent.Agent, Client: party.Client.ClientID(), SignIn: step.ID, Authentication: party.Authentication, Nonce: party.Nonce, AccessToken: t.Text,
		})
		if err != nil {
			return err
		}
	}
	refreshes := step.Was != nil || party.Client.RefreshTokens && (!openID || slices.Contains(party.Scopes, OfflineAccess))
	if !refreshes {
		if step.ExpiresAt = t.ExpiresAt; openID { // the ID token is of the sign-in for as long as it is good
			step.ExpiresAt = later(step.ExpiresAt, r.Now.UTC().Add(tokens.IDTokenLifetime).Truncate(time.Microsecond))
		}
		return nil
	}
	answer.RefreshToken, step.Next = g.Secrets.issue(refreshPrefix, step.ID)
	step.NextExpiresAt = earlier(r.Now.UTC().Add(RefreshIdleMax).Truncate(time.Microsecond), step.ExpiresAt)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// invalidGrant is one answer for every reason.
func invalidGrant(err error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "What was presented is not valid here.", Err: err}
}
