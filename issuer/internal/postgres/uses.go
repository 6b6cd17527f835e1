package postgres

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
)

// UseUp implements agents.Store. The primary key of the table decides between two that come at the same time.
func (s *Store) UseUp(ctx context.Context, org agentid.Organization, use agents.SingleUse) error {
	return asProblem(s.inOrg(ctx, org, func(q *orgdb.Queries) error {
		i := agents.Issuance{Uses: []agents.SingleUse{use}}
		i.Agent.OrganizationID = org
		return s.useUp(ctx, q, i)
	}), credentialNoun)
}
