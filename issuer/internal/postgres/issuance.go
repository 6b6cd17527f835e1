package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
)

// usesKeptLonger is how long a use is kept after it expired: the clocks of two processes may differ by as much.
const usesKeptLonger = time.Minute

// RecordTokenIssued implements agents.Store. A token that speaks of the client alone and uses nothing up shares a transaction with others that are issued at
// the same time (committer); what the group does not record is asked alone, in one statement that waits for whoever holds the agent. Nothing is written, and the
// answer is NotFound, unless the agent is active and the credential unexpired at this moment; a token from before a watermark is an OutdatedError.
func (s *Store) RecordTokenIssued(ctx context.Context, actor audit.Actor, i issuance.Record) error {
	if err := actor.Validate(); err != nil {
		return asProblem(err, credentialNoun)
	}
	all := map[string]any{"credentialId": i.Credential.String()}
	maps.Copy(all, i.Details)
	row, err := s.auditRow(actor, i.OrganizationID, event{audit.TokenIssue, i.Agent.String(), all})
	if err != nil {
		return asProblem(err, credentialNoun)
	}
	record := func(q *orgdb.Queries) error {
		n, err := q.RecordTokenIssued(ctx, orgdb.RecordTokenIssuedParams{
			OrgID: row.OrgID, Event: row.Event, Ts: row.Ts, Actor: row.Actor, Action: row.Action, Target: row.Target, EncVersion: row.EncVersion, Body: row.Body,
			AgentID: i.Agent.UUID(), CredentialID: i.Credential.UUID(), IssuedAt: i.Token.IssuedAt,
		})
		if err == nil && n == 0 {
			err = s.whyDead(ctx, q, i)
		}
		return err
	}
	if len(i.Uses) == 0 && len(i.Holders) == 0 && i.SignIn == nil && i.MadeOf.IsZero() {
		q, err := s.orgOnce(i.OrganizationID)
		if err != nil {
			return asProblem(err, credentialNoun)
		}
		recorded, err := s.tokens.record(ctx, &tokenRecord{row: row, agent: i.Agent.UUID(), credential: i.Credential.UUID(), issuedAt: i.Token.IssuedAt})
		if err == nil && !recorded {
			err = record(q)
		}
		return asProblem(err, credentialNoun)
	}
	return asProblem(s.inOrg(ctx, i.OrganizationID, func(q *orgdb.Queries) error {
		if err := s.useUp(ctx, q, i.OrganizationID, i.Uses...); err != nil {
			return err
		}
		for _, h := range inOrder(i) {
			if err := checkHolder(ctx, q, i.OrganizationID, h); err != nil {
				return err
			}
		}
		if err := s.holdSignIn(ctx, q, i); err != nil {
			return err
		}
		if err := s.advanceSignIn(ctx, q, i); err != nil {
			return err
		}
		return record(q)
	}), credentialNoun)
}

// whyDead is for a token that was not recorded.
func (s *Store) whyDead(ctx context.Context, q *orgdb.Queries, i issuance.Record) error {
	watermark, err := q.TokensNotBefore(ctx, orgdb.TokensNotBeforeParams{
		OrgID: i.OrganizationID.UUID(), ID: i.Agent.UUID(), CredentialID: i.Credential.UUID(), At: s.clock(),
	})
	switch {
	case isNoRows(err), err == nil && !watermark.After(i.Token.IssuedAt):
		return notFound(credentialNoun)
	case err != nil:
		return err
	}
	return &issuance.OutdatedError{NotBefore: watermark.UTC()}
}

// useUp comes first: of two tokens that use the same, the second waits here for the first.
func (s *Store) useUp(ctx context.Context, q requestQueries, org agentid.Organization, uses ...issuance.SingleUse) error {
	for _, u := range uses {
		n, err := q.UseOnce(ctx, orgdb.UseOnceParams{OrgID: org.UUID(), Purpose: u.Purpose, Key: u.Key[:], ExpiresAt: u.ExpiresAt.Add(usesKeptLonger)})
		if err != nil {
			return err
		}
		if n == 0 {
			return &issuance.UsedError{Purpose: u.Purpose}
		}
	}
	if len(uses) == 0 {
		return nil
	}
	return q.ForgetUses(ctx, orgdb.ForgetUsesParams{OrgID: org.UUID(), At: s.clock()})
}

// inOrder is the holders in the order of ids, in which whoever locks several agents does it: among them the client, whose watermark is for the record of the token to compare.
func inOrder(i issuance.Record) []issuance.Holder {
	holders := slices.Clone(i.Holders)
	if slices.ContainsFunc(holders, func(h issuance.Holder) bool { return h.Agent != i.Agent }) {
		holders = append(holders, issuance.Holder{Agent: i.Agent, IssuedAt: forgetAll})
	}
	slices.SortStableFunc(holders, func(a, b issuance.Holder) int { return strings.Compare(a.Agent.String(), b.Agent.String()) })
	return holders
}

// checkHolder locks first and looks for the credential then, in a statement of its own that sees a deletion it waited for.
func checkHolder(ctx context.Context, q *orgdb.Queries, organization agentid.Organization, h issuance.Holder) error {
	org := organization.UUID()
	n, err := q.LockLiveAgent(ctx, orgdb.LockLiveAgentParams{OrgID: org, ID: h.Agent.UUID(), IssuedAt: h.IssuedAt})
	if err != nil {
		return err
	}
	if n == 0 {
		return notFound(agentNoun)
	}
	if h.Credential.IsZero() {
		return nil
	}
	exists, err := q.CredentialExists(ctx, orgdb.CredentialExistsParams{OrgID: org, AgentID: h.Agent.UUID(), ID: h.Credential.UUID()})
	if err == nil && !exists {
		err = notFound(credentialNoun)
	}
	return err
}
