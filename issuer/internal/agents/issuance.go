package agents

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// RecordTokenIssued is Store.RecordTokenIssued. The token's iat must be read from the clock before the call: then a suspension, which waits for
// this record, is always later than the token it has to kill.
func (s *Service) RecordTokenIssued(ctx context.Context, actor audit.Actor, i issuance.Record) error {
	return s.store.RecordTokenIssued(ctx, actor, i)
}

// UseUp is Store.UseUp.
func (s *Service) UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error {
	if err := s.store.UseUp(ctx, org, use); err != nil {
		if _, used := issuance.AsUsed(err); used {
			return err
		}
		return credentials.Unavailable(err)
	}
	return nil
}
