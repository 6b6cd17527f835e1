// Package introspection serves RFC 7662. A client is told about its own tokens, and about those of its organization that are for it; of every other token,
// whatever the reason, that it is not active and nothing else. A resource that could ask about tokens for others would learn what their holders may do there
// (CVE-2026-37979).
package introspection

import (
	"context"
	"errors"
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/caller"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// Judge says what an access token is worth. tokenstate.Judge implements it.
type Judge interface {
	Check(ctx context.Context, issuer issuers.Issuer, text string) (*tokenstate.Token, error)
}

// Refresher says what a refresh token is worth.
type Refresher interface {
	Refresh(ctx context.Context, issuer issuers.Issuer, org agentid.Organization, client, text string) (*tokenstate.Refresh, error)
}

// Introspector serves POST /oauth2/introspect.
type Introspector struct {
	callers *caller.Identifier
	judge   Judge
	refresh Refresher
}

// New returns the endpoint. refresh is nil where no refresh tokens are issued.
func New(callers *caller.Identifier, judge Judge, refresh Refresher) *Introspector {
	return &Introspector{callers, judge, refresh}
}

// answer is RFC 7662 s2.2, with what RFC 8693 s4, RFC 8705 s3.2, RFC 9396 s9.2 and RFC 9449 s6.2 add. Of a token that is not active it has one member.
type answer struct {
	Active         bool   `json:"active"`
	Scope          string `json:"scope,omitempty"`
	ClientID       string `json:"client_id,omitempty"`
	TokenType      string `json:"token_type,omitempty"`
	ExpiresAt      int64  `json:"exp,omitempty"`
	IssuedAt       int64  `json:"iat,omitempty"`
	NotBefore      int64  `json:"nbf,omitempty"`
	Subject        string `json:"sub,omitempty"`
	Audience       any    `json:"aud,omitempty"`
	Issuer         string `json:"iss,omitempty"`
	ID             string `json:"jti,omitempty"`
	OrganizationID string `json:"org_id,omitempty"`
	Agent          any    `json:"agent,omitempty"`
	Actor          any    `json:"act,omitempty"`
	Confirmation   any    `json:"cnf,omitempty"`
	Details        any    `json:"authorization_details,omitempty"`
}

// IntrospectToken answers one question.
func (e *Introspector) IntrospectToken(w http.ResponseWriter, r *http.Request) {
	body, err := e.introspect(r)
	if err != nil {
		failure := oauth.From(err)
		web.Note(r.Context(), failure)
		oauth.WriteError(w, failure)
		return
	}
	oauth.WriteJSON(w, http.StatusOK, body)
}

func (e *Introspector) introspect(r *http.Request) (answer, error) {
	form, err := oauth.ReadForm(r)
	if err != nil {
		return answer{}, err
	}
	who, err := e.callers.Identify(r, form)
	if err != nil {
		return answer{}, err
	}
	if who.Public { // s2.1: without authentication this would tell anybody which tokens are good
		return answer{}, &oauth.Error{Code: oauth.InvalidClient, Description: "The client must authenticate."}
	}
	text := form.Get("token")
	if text == "" {
		return answer{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "token is missing."}
	}
	// token_type_hint is not needed: the two kinds look different (s2.1 lets the server ignore it).
	body, err := e.describe(r.Context(), who, text)
	if errors.Is(err, tokenstate.ErrInactive) || errors.Is(err, tokenstate.ErrNotYours) {
		web.Note(r.Context(), err)
		return answer{}, nil
	}
	return body, err
}

func (e *Introspector) describe(ctx context.Context, who *caller.Caller, text string) (answer, error) {
	issuer := issuers.From(ctx)
	t, err := e.judge.Check(ctx, issuer, text)
	if err == nil {
		return describeAccess(who, t)
	}
	if e.refresh == nil || !who.RelyingParty || !errors.Is(err, tokenstate.ErrInactive) {
		return answer{}, err
	}
	refresh, err := e.refresh.Refresh(ctx, issuer, who.Organization, who.ClientID, text)
	if err != nil {
		return answer{}, err
	}
	body := answer{
		Active: true, Scope: refresh.Scope, ClientID: refresh.ClientID, ExpiresAt: refresh.ExpiresAt.Unix(), IssuedAt: refresh.IssuedAt.Unix(),
		Subject: refresh.Subject, Issuer: issuer.ID, OrganizationID: refresh.Organization.String(),
	}
	if refresh.Details != nil {
		body.Details = refresh.Details
	}
	if refresh.Confirmation != (tokens.Confirmation{}) {
		body.Confirmation = refresh.Confirmation
	}
	return body, nil
}

// describeAccess tells the caller what it may know.
func describeAccess(who *caller.Caller, t *tokenstate.Token) (answer, error) {
	own := t.ClientID == who.ClientID
	if !own && (t.Organization != who.Organization || !who.Is(t.Claims.Audience)) {
		return answer{}, tokenstate.ErrNotYours
	}
	c := t.Claims
	body := answer{
		Active: true, Scope: t.Scope(), ClientID: t.ClientID, TokenType: oauth.Bearer, ExpiresAt: c.ExpiresAt, IssuedAt: c.IssuedAt, NotBefore: c.NotBefore,
		Subject: c.Subject, Audience: c.Audience, Issuer: c.Issuer, ID: c.ID, OrganizationID: t.Organization.String(),
		Agent: c.Extra["agent"], Actor: c.Extra["act"], Confirmation: c.Extra["cnf"], Details: c.Extra["authorization_details"],
	}
	if len(c.Audience) == 1 {
		body.Audience = c.Audience[0]
	}
	if cnf, ok := c.Extra["cnf"].(map[string]any); ok && cnf["jkt"] != nil {
		body.TokenType = oauth.DPoP
	}
	return body, nil
}

// IntrospectOrganizationToken answers one at the issuer of an organization.
func (e *Introspector) IntrospectOrganizationToken(w http.ResponseWriter, r *http.Request) {
	e.IntrospectToken(w, r)
}
