package tokenstate

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// ErrNotYours is a token that was issued to another client.
var ErrNotYours = errors.New("the token was issued to another client")

// ElsewhereError is a token that another issuer of ours issued to whoever asks. It is worth nothing here: it is also ErrInactive.
type ElsewhereError struct{ Issuer string }

func (e *ElsewhereError) Error() string { return "the token is of " + e.Issuer }

// Is implements what errors.Is asks.
func (e *ElsewhereError) Is(target error) bool { return target == ErrInactive }

// Refresh is a refresh token that is good now.
type Refresh struct {
	Organization agentid.Organization
	ClientID     string
	Subject      string
	Scope        string
	Details      json.RawMessage // RFC 9396; nil for none
	Confirmation tokens.Confirmation
	IssuedAt     time.Time // of the sign-in
	ExpiresAt    time.Time
}

// RefreshTokens knows refresh tokens. A text that is none of an issuer's, or is not good any more, is ErrInactive (an ElsewhereError when it is of another issuer of ours); one of another client,
// of whatever organization, ErrNotYours.
type RefreshTokens interface {
	Refresh(ctx context.Context, issuer issuers.Issuer, org agentid.Organization, client, text string) (*Refresh, error)
	// RevokeRefresh ends what the token could go on with, and takes the access tokens along that came of it (RFC 7009 s2.1).
	RevokeRefresh(ctx context.Context, actor audit.Actor, issuer issuers.Issuer, org agentid.Organization, client, text string) error
}
