package revocation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/caller"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// Judge says whose an access token is, and what it is worth. tokenstate.Judge implements it.
type Judge interface {
	Verify(issuer issuers.Issuer, text string) (*tokenstate.Token, error)
	Alive(ctx context.Context, t *tokenstate.Token) error
}

// Refresher revokes refresh tokens.
type Refresher interface {
	RevokeRefresh(ctx context.Context, actor audit.Actor, issuer issuers.Issuer, org agentid.Organization, client, text string) error
}

// Issuers finds the issuer of a token that was brought to another one. issuers.Set implements it.
type Issuers interface {
	Find(ctx context.Context, id string) (issuers.Issuer, error)
}

// Revoker serves POST /oauth2/revoke, RFC 7009: a client gives back a token of its own.
type Revoker struct {
	callers *caller.Identifier
	judge   Judge
	store   Store
	refresh Refresher
	issuers Issuers
}

// NewRevoker returns the endpoint.
func NewRevoker(callers *caller.Identifier, judge Judge, store Store, refresh Refresher, all Issuers) *Revoker {
	return &Revoker{callers, judge, store, refresh, all}
}

// RevokeToken answers one request.
func (e *Revoker) RevokeToken(w http.ResponseWriter, r *http.Request) {
	err := e.revoke(r)
	if elsewhere, ok := errors.AsType[*tokenstate.ElsewhereError](err); ok {
		// Not as its cause: that is ErrInactive, too.
		err = &oauth.Error{Code: oauth.InvalidRequest, Description: "The token is of another issuer. Give it back at " + elsewhere.Issuer + "/oauth2/revoke."}
	}
	if err == nil || errors.Is(err, tokenstate.ErrInactive) {
		// s2.2: what is not a token, or not any more, is in the state the client wants.
		if err != nil {
			web.Note(r.Context(), err)
		}
		oauth.WriteEmpty(w)
		return
	}
	failure := oauth.From(err)
	if errors.Is(err, tokenstate.ErrNotYours) {
		// s2.1: refused, and said so; the code is that of RFC 6749 s5.2 for what was issued to another client. Nothing is told about the token that its
		// own text does not say: it is the same answer when it has been revoked.
		failure = &oauth.Error{Code: oauth.InvalidGrant, Description: "The token was issued to another client."}
	}
	web.Note(r.Context(), failure)
	oauth.WriteError(w, failure)
}

func (e *Revoker) revoke(r *http.Request) error {
	form, err := oauth.ReadForm(r)
	if err != nil {
		return err
	}
	who, err := e.callers.Identify(r, form)
	if err != nil {
		return err
	}
	text := form.Get("token")
	if text == "" {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "token is missing."}
	}
	// token_type_hint is not needed: the two kinds look different (s2.1 lets the server ignore it).
	ctx, issuer := r.Context(), issuers.From(r.Context())
	t, err := e.judge.Verify(issuer, text)
	switch {
	case err == nil && t.ClientID != who.ClientID:
		return tokenstate.ErrNotYours
	case err == nil:
		return e.revokeAccess(ctx, who, t)
	case !errors.Is(err, tokenstate.ErrInactive):
		return err
	}
	if iss := tokenstate.IssuerOf(text); iss != "" {
		if iss != issuer.ID {
			err = e.elsewhere(ctx, who, iss, text)
		}
		return err
	}
	return e.refresh.RevokeRefresh(ctx, who.Actor(ctx), issuer, who.Organization, who.ClientID, text)
}

// elsewhere judges a token that was brought to the wrong issuer of ours: it is not revoked here, and to whom it was issued is told where it is.
func (e *Revoker) elsewhere(ctx context.Context, who *caller.Caller, iss, text string) error {
	issuer, err := e.issuers.Find(ctx, iss)
	if problem.KindOf(err) == problem.NotFound {
		return fmt.Errorf("%w: %w", tokenstate.ErrInactive, err)
	}
	if err != nil {
		return err
	}
	t, err := e.judge.Verify(issuer, text)
	switch {
	case err != nil:
		return err
	case t.ClientID != who.ClientID:
		return tokenstate.ErrNotYours
	}
	if err := e.judge.Alive(ctx, t); err != nil {
		return err
	}
	return &tokenstate.ElsewhereError{Issuer: iss}
}

// revokeAccess puts the token on the list, unless it is dead already: then there is nothing to do, and nothing to record.
func (e *Revoker) revokeAccess(ctx context.Context, who *caller.Caller, t *tokenstate.Token) error {
	if err := e.judge.Alive(ctx, t); err != nil {
		return err
	}
	carrier := t.Carrier()
	if carrier.IsZero() {
		return errors.New("a token with no agent of ours cannot be revoked alone")
	}
	err := e.store.RevokeToken(ctx, who.Actor(ctx), Token{
		Organization: t.Organization, Agent: carrier, ID: t.Claims.ID, ExpiresAt: time.Unix(t.Claims.ExpiresAt, 0).UTC(),
	})
	if problem.KindOf(err) == problem.NotFound { // the agent was deleted meanwhile, and its tokens died with it
		return nil
	}
	return err
}

// RevokeOrganizationToken answers one at the issuer of an organization.
func (e *Revoker) RevokeOrganizationToken(w http.ResponseWriter, r *http.Request) {
	e.RevokeToken(w, r)
}
