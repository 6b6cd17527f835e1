package postgres

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// UseUp implements agents.Store. The primary key of the table decides between two that come at the same time.
func (s *Store) UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error {
	return asProblem(s.requestsIn(ctx, org, func(q requestQueries) error { return s.useUp(ctx, q, org, use) }), credentialNoun)
}
