// Package grants is the token endpoint. The endpoint is a template that no grant can skip a step of; a grant type is a row of hooks in a file of its own.
//
//	parse ─► authenticate the client ─► client of this issuer? ─► grant type served? ─► and to this kind of client? ─► possession proven? ─► scope and resource allowed?
//	      ─► grant's own check ─► claims and signature ─► the rest of the answer ─► audit record and what is used up, committed ─► answer
package grants

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// Grant is one way to get a token. It sees a request whose client is authenticated, and can only narrow what the template allows.
type Grant struct {
	Type string // grant_type

	// Identify is set by the grants of relying parties, which may use no other. Agents says that agents use such a grant, too.
	Identify Identify
	Agents   bool

	// Targets are the resources the request asks for, when the grant has other parameters for them than resource (RFC 8707). May be nil.
	Targets func(form oauth.Form) []string

	// Authorize checks what is special to the grant (an assertion, a subject token, a code). It may lower the authorization and must not raise it. What the token
	// uses up, and of whom else it speaks, it notes in the request's issuance: that is decided when the token is recorded.
	Authorize func(ctx context.Context, r *Request, a *tokens.Authorization) error

	// Complete adds to the answer what belongs to the signed token (an id_token, a refresh token), and to the issuance what has to be committed with it.
	// Nothing is committed yet, and nothing has left: it is called again when the token has to be another. May be nil.
	Complete func(ctx context.Context, r *Request, t tokens.AccessToken, answer *oauth.TokenResponse) error

	// Used is called when the code or refresh token was redeemed by a request that ran at the same time (issuance.UseSignIn): no token leaves. May be nil.
	Used func(ctx context.Context, r *Request)
}

// Request is a token request as a grant sees it: from a client that was authenticated, at an issuer it is a client of.
type Request struct {
	Form   oauth.Form
	Issuer issuers.Issuer
	Method credentials.Method // by which the sender proved itself
	Now    time.Time

	// Agent is whom the token is of: the agent that sent the request, or, when RelyingParty sent it, the one that signed in there.
	Agent        clientauth.AuthenticatedAgent
	RelyingParty *RelyingParty // nil when an agent sent the request

	// Confirmation is what the sender proved to hold, and what the token will be bound to. A code or a subject token that is bound to something wants it here.
	Confirmation tokens.Confirmation
	// Certificate is the x5t#S256 of the certificate the connection was made with, "" without one. The sender holds its key, whether or not the token is bound to it.
	Certificate string

	// Issuance is what is recorded with the token. Details say more about a grant; names the template uses are its own.
	Issuance issuance.Record
}

// Minter signs tokens.
type Minter interface {
	Mint(a tokens.Authorization) (tokens.AccessToken, error)
}

// Recorder writes the audit record of a token before the token leaves, and with it uses up what may be used once. It fails with kind NotFound when the
// agent or a holder is no longer active or its credential is gone, with OutdatedError when the token is from before a watermark, with UsedError when something was used before, and then no token leaves.
type Recorder interface {
	RecordTokenIssued(ctx context.Context, actor audit.Actor, i issuance.Record) error
	// UseUp uses something up on its own, for a client of no organization (org is zero); UsedError when it was used before.
	UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error
}

// Endpoint serves POST /oauth2/token.
type Endpoint struct {
	cfg     Config
	grants  map[string]Grant
	metrics *metrics
}

// IssueToken answers one token request.
func (e *Endpoint) IssueToken(w http.ResponseWriter, r *http.Request) {
	answer, err := e.issue(w, r)
	if err != nil {
		failure := oauth.From(err)
		e.metrics.refused.WithLabelValues(string(failure.Code)).Inc()
		web.Note(r.Context(), failure)
		oauth.WriteError(w, failure)
		return
	}
	oauth.WriteToken(w, answer)
}

// IssueOrganizationToken answers one at the issuer of an organization.
func (e *Endpoint) IssueOrganizationToken(w http.ResponseWriter, r *http.Request) { e.IssueToken(w, r) }

// issue is the template.
func (e *Endpoint) issue(w http.ResponseWriter, r *http.Request) (oauth.TokenResponse, error) {
	request, grant, err := e.receive(w, r)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := e.confirm(r, request); err != nil {
		return oauth.TokenResponse{}, err
	}
	authorization, err := allowed(request, grant)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	if err := grant.Authorize(r.Context(), request, &authorization); err != nil {
		return oauth.TokenResponse{}, err
	}
	answer, err := e.sign(r.Context(), request, grant, authorization)
	if late, ok := issuance.AsOutdated(err); ok { // what the client had was revoked a moment ago, and it can have new tokens at once
		authorization.NotBefore = late.NotBefore
		answer, err = e.sign(r.Context(), request, grant, authorization)
	}
	if _, ok := issuance.AsOutdated(err); ok { // and again
		err = oauth.Unavailable(err)
	}
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	e.metrics.issued.WithLabelValues(grant.Type).Inc()
	return answer, nil
}

// sign makes the token and the rest of the answer, and the record of it. Of a token that is not recorded nothing leaves.
func (e *Endpoint) sign(ctx context.Context, request *Request, grant Grant, authorization tokens.Authorization) (oauth.TokenResponse, error) {
	token, err := e.cfg.Minter.Mint(authorization)
	if errors.Is(err, tokens.ErrExpired) {
		return oauth.TokenResponse{}, &oauth.Error{Code: oauth.InvalidGrant, Description: "What the token would be made from has expired.", Err: err}
	}
	if notYet, ok := errors.AsType[*tokens.NotYetError](err); ok {
		unavailable := oauth.Unavailable(err)
		unavailable.RetryAfter = notYet.Wait
		return oauth.TokenResponse{}, unavailable
	}
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	answer := respond(authorization, token)
	if grant.Complete != nil {
		if err := grant.Complete(ctx, request, token, &answer); err != nil {
			return oauth.TokenResponse{}, err
		}
	}
	return answer, e.record(ctx, request, grant, authorization, token)
}

// receive is everything up to a request that a grant may see.
func (e *Endpoint) receive(w http.ResponseWriter, r *http.Request) (*Request, Grant, error) {
	form, err := oauth.ReadForm(r)
	if err != nil {
		return nil, Grant{}, err
	}
	if form.Get("grant_type") == "" {
		return nil, Grant{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "grant_type is missing."}
	}
	grant, ok := e.grants[form.Get("grant_type")]
	request := &Request{Form: form, Issuer: issuers.From(r.Context()), Now: e.cfg.Now()}
	if err := e.confirmKey(w, r, request); err != nil {
		return nil, Grant{}, err
	}
	sender, err := e.cfg.Clients.Authenticate(r, form)
	switch {
	case err != nil:
		return nil, Grant{}, err
	case !ok:
		return nil, Grant{}, &oauth.Error{Code: oauth.UnsupportedGrantType, Description: "This grant type is not served."}
	case sender.RelyingParty != nil && grant.Identify == nil, sender.RelyingParty == nil && grant.Identify != nil && !grant.Agents:
		return nil, Grant{}, &oauth.Error{Code: oauth.UnauthorizedClient, Description: "This kind of client may not use this grant type."}
	}
	return request, grant, identify(r.Context(), request, grant, sender)
}

// respond is what every grant answers, RFC 6749 s5.1.
func respond(a tokens.Authorization, t tokens.AccessToken) oauth.TokenResponse {
	answer := oauth.TokenResponse{
		AccessToken: t.Text, TokenType: oauth.Bearer, ExpiresIn: int64(t.ExpiresIn / time.Second), Scope: t.Scope, AuthorizationDetails: a.Details,
	}
	if a.Confirmation.KeyThumbprint != "" {
		answer.TokenType = oauth.DPoP // RFC 9449 s5
	}
	return answer
}
