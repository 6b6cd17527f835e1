package clientauth

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
)

// Gate limits how often clients authenticate, and fail to: of either kind, by whichever method. ratelimit.Gate is one. Its errors are answers, *oauth.Error.
type Gate interface {
	// Admit is asked before anything of a client is looked at.
	Admit(ctx context.Context, clientID string) error
	// Failed is told of each failed authentication.
	Failed(ctx context.Context, clientID string)
	// Authenticated is asked after a successful one, when nothing is wrong any more: the client is one of the issuer that was asked, and what may be used once was not used
	// before. Whoever has only seen a proof takes nothing from its client.
	Authenticated(ctx context.Context, clientID string, org agentid.Organization) error
}
