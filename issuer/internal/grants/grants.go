// Package grants is the token endpoint. The endpoint is a template that no grant can skip a step of; a grant type is a row of hooks in a file of its own.
//
//	parse ─► authenticate the client ─► grant type served? ─► scope and resource allowed? ─► grant's own check
//	      ─► claims and signature ─► audit record, committed ─► answer
package grants

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// Grant is one way to get a token. It sees a request whose client is authenticated, and can only narrow what the template allows.
type Grant struct {
	Type string // grant_type

	// Authorize checks what is special to the grant (an assertion, a subject token). It may lower the authorization and must not raise it.
	Authorize func(ctx context.Context, form oauth.Form, a *tokens.Authorization) error
}

// Minter signs tokens.
type Minter interface {
	AccessToken(a tokens.Authorization) (tokens.AccessToken, error)
}

// Recorder writes the audit record of a token before the token leaves. It fails with kind NotFound when the agent is no longer active or its
// credential is gone, and then no token leaves.
type Recorder interface {
	RecordTokenIssued(ctx context.Context, actor audit.Actor, agent agents.Agent, credential agentid.Credential, details map[string]any) error
}

// Endpoint serves POST /oauth2/token.
type Endpoint struct {
	clients  *clientauth.Authenticator
	minter   Minter
	recorder Recorder
	grants   map[string]Grant
	metrics  *metrics
}

// IssueToken answers one token request.
func (e *Endpoint) IssueToken(w http.ResponseWriter, r *http.Request) {
	token, err := e.issue(r)
	if err != nil {
		failure, ok := errors.AsType[*oauth.Error](err)
		if !ok {
			failure = oauth.Internal(err)
		}
		e.metrics.refused.WithLabelValues(string(failure.Code)).Inc()
		web.Note(r.Context(), failure)
		oauth.WriteError(w, failure)
		return
	}
	oauth.WriteToken(w, oauth.TokenResponse{
		AccessToken: token.Text, TokenType: oauth.Bearer, ExpiresIn: int64(token.ExpiresIn / time.Second), Scope: token.Scope,
	})
}

// issue is the template.
func (e *Endpoint) issue(r *http.Request) (tokens.AccessToken, error) {
	form, err := oauth.ReadForm(r)
	if err != nil {
		return tokens.AccessToken{}, err
	}
	if form.Get("grant_type") == "" {
		return tokens.AccessToken{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "grant_type is missing."}
	}
	client, err := e.clients.Authenticate(r, form)
	if err != nil {
		return tokens.AccessToken{}, err
	}
	issuer := issuers.From(r.Context())
	if !issuer.Admits(client.Agent.OrganizationID) { // the answer to a client that does not exist
		return tokens.AccessToken{}, &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed."}
	}
	grant, ok := e.grants[form.Get("grant_type")]
	if !ok {
		return tokens.AccessToken{}, &oauth.Error{Code: oauth.UnsupportedGrantType, Description: "This grant type is not served."}
	}
	authorization, err := allowed(client, form)
	if err != nil {
		return tokens.AccessToken{}, err
	}
	authorization.Issuer = issuer
	if err := grant.Authorize(r.Context(), form, &authorization); err != nil {
		return tokens.AccessToken{}, err
	}
	token, err := e.minter.AccessToken(authorization)
	if err != nil {
		return tokens.AccessToken{}, err
	}
	if err := e.record(r.Context(), client, grant, authorization, token); err != nil {
		return tokens.AccessToken{}, err
	}
	e.metrics.issued.WithLabelValues(grant.Type).Inc()
	return token, nil
}

// record makes the issuance a fact before the token is one. The token was signed before: its iat must not be later than a suspension that waits for
// the record.
func (e *Endpoint) record(ctx context.Context, client clientauth.Client, grant Grant, a tokens.Authorization, t tokens.AccessToken) error {
	actor := audit.Actor{Kind: audit.KindAgent, ID: client.Agent.ID.String(), RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
	err := e.recorder.RecordTokenIssued(ctx, actor, client.Agent, client.Credential, map[string]any{
		"tokenId": t.ID, "keyId": t.KeyID, "grantType": grant.Type, "clientAuthentication": string(client.Method), "credentialId": client.Credential.String(),
		"audience": a.Audience, "scope": t.Scope, "issuedAt": t.IssuedAt.Format(time.RFC3339), "expiresAt": t.ExpiresAt.Format(time.RFC3339),
	})
	switch {
	case err == nil:
		return nil
	case problem.KindOf(err) == problem.NotFound: // suspended, or credential deleted, since it was authenticated
		return &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed.", Err: err}
	case problem.KindOf(err) == problem.Unavailable:
		return oauth.Unavailable(err)
	}
	return oauth.Internal(err)
}
