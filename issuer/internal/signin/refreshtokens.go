package signin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// reasonGivenBack is the reason for the end of a sign-in whose relying party gave its refresh token back.
const reasonGivenBack = "refresh_token_revoked"

// RefreshTokens answers about refresh tokens. Everything is required.
type RefreshTokens struct {
	Store   Store
	Secrets Secrets
	Now     func() time.Time
}

var _ tokenstate.RefreshTokens = (*RefreshTokens)(nil)

// Refresh implements tokenstate.RefreshTokens. One that was replaced is not good any more.
func (t *RefreshTokens) Refresh(ctx context.Context, issuer issuers.Issuer, org agentid.Organization, client, text string) (*tokenstate.Refresh, error) {
	s, hash, err := t.find(ctx, issuer, org, client, text)
	if err != nil {
		return nil, err
	}
	now := t.Now()
	if !s.RevokedAt.IsZero() || subtle.ConstantTimeCompare(hash, s.RefreshHash) != 1 || !now.Before(s.RefreshExpiresAt) || !now.Before(s.ExpiresAt) {
		return nil, inactive(errors.New("replaced, expired or revoked"))
	}
	switch good, err := t.Store.SignInGood(ctx, s); {
	case err != nil:
		return nil, err
	case !good:
		return nil, inactive(errors.New("the agent is not active, or was revoked since it signed in, or its credential is gone"))
	}
	return &tokenstate.Refresh{
		Organization: s.OrganizationID, ClientID: client, Subject: s.Agent.String(), Scope: strings.Join(s.Scopes, " "), Details: s.Details, Confirmation: s.Confirmation,
		IssuedAt: s.CreatedAt, ExpiresAt: s.RefreshExpiresAt,
	}, nil
}

// RevokeRefresh implements tokenstate.RefreshTokens. One that was replaced ends the sign-in too: whoever gives it back is done with it.
func (t *RefreshTokens) RevokeRefresh(ctx context.Context, actor audit.Actor, issuer issuers.Issuer, org agentid.Organization, client, text string) error {
	s, _, err := t.find(ctx, issuer, org, client, text)
	if err != nil {
		return err
	}
	return t.Store.RevokeSignIn(ctx, actor, s.OrganizationID, s.ID, reasonGivenBack)
}

// find is the sign-in that a refresh token was made for. The token's tag is ours, so it is a client's own or another's, and never a guess: one whose sign-in is not where the client's are
// is another's, unless it is so old that its sign-in is forgotten everywhere.
func (t *RefreshTokens) find(ctx context.Context, issuer issuers.Issuer, org agentid.Organization, client, text string) (SignIn, []byte, error) {
	id, hash, ok := t.Secrets.open(refreshPrefix, text)
	if !ok {
		return SignIn{}, nil, inactive(errors.New("no refresh token"))
	}
	s, err := signInOf(ctx, t.Store, org, client, id)
	switch {
	case problem.KindOf(err) == problem.NotFound && t.Now().Before(begun(id).Add(RefreshTotalMax)):
		return SignIn{}, nil, tokenstate.ErrNotYours
	case problem.KindOf(err) == problem.NotFound:
		return SignIn{}, nil, inactive(err)
	case err != nil:
		return SignIn{}, nil, err
	case s.Client != client:
		return SignIn{}, nil, tokenstate.ErrNotYours
	case s.Issuer != issuer.ID:
		return SignIn{}, nil, &tokenstate.ElsewhereError{Issuer: s.Issuer}
	}
	return s, hash, nil
}

// begun is when a sign-in began, as its id has it.
func begun(id agentid.SignIn) time.Time { return time.Unix(id.UUID().Time().UnixTime()) }

func inactive(why error) error { return fmt.Errorf("%w: %w", tokenstate.ErrInactive, why) }
