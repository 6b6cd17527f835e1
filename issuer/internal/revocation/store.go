package revocation

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Token is an access token that is to be revoked. There is no row of it before.
type Token struct {
	Organization agentid.Organization
	Agent        agentid.Agent // whose watermark kills it too
	ID           string        // jti
	ExpiresAt    time.Time
}

// Store keeps what was revoked; contracts as agents.Store. Everything is on the revocation list in the same transaction.
type Store interface {
	// RevokeToken revokes one token; nothing happens when it was revoked before. Of an agent with very many revoked tokens every token dies that was issued
	// up to now: the list stays short, and kills more, never less. NotFound when the organization has no such agent.
	RevokeToken(ctx context.Context, actor audit.Actor, t Token) error
	// RevokeOrganizationTokens revokes what every agent of an organization was issued up to now, and returns the second from which on tokens live. NotFound
	// when there is no such organization.
	RevokeOrganizationTokens(ctx context.Context, actor audit.Actor, org agentid.Organization) (time.Time, error)
}
