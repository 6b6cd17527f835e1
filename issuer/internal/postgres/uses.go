package postgres

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
)

// UseUp implements agents.Store. The primary key of the table decides between two that come at the same time.
func (s *Store) UseUp(ctx context.Context, org agentid.Organization, use agents.SingleUse) error {
	return asProblem(s.requestsIn(ctx, org, func(q requestQueries) error { return s.useUp(ctx, q, org, use) }), credentialNoun)
}
