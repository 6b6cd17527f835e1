package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

var (
	_ revocation.Store = (*Store)(nil)
	_ tokenstate.Store = (*Store)(nil)
)

// agentTokensMax is how many revoked tokens of one agent are kept one by one. The next one makes them a watermark of the agent instead, which kills more and
// never less: an agent that gives back each of its tokens stays within it (a token lives 15 minutes at most), and nobody makes the list too long.
const agentTokensMax = 64

// forgetAll is later than any exp.
var forgetAll = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// errRevokedAlready ends a transaction that has nothing to do.
var errRevokedAlready = errors.New("the token was revoked before")

// RevokeToken implements revocation.Store.
func (s *Store) RevokeToken(ctx context.Context, actor audit.Actor, t revocation.Token) error {
	err := s.changeInOrg(ctx, actor, t.Organization, func(q *orgdb.Queries) (event, error) {
		if _, err := q.AgentForUpdate(ctx, orgdb.AgentForUpdateParams{OrgID: t.Organization.UUID(), ID: t.Agent.UUID()}); err != nil {
			return event{}, err
		}
		n, watermarks, err := s.revokeTokens(ctx, q, t.Organization, deadToken{agent: t.Agent, id: t.ID, expiresAt: t.ExpiresAt})
		if err == nil && n == 0 {
			err = errRevokedAlready
		}
		details := map[string]any{"agentId": t.Agent.String(), "expiresAt": t.ExpiresAt.UTC().Format(time.RFC3339)}
		if watermark, raised := watermarks[t.Agent.UUID()]; raised {
			details["tokensNotBefore"] = watermark.UTC().Format(time.RFC3339)
		}
		return event{audit.TokenRevoke, t.ID, details}, err
	})
	if errors.Is(err, errRevokedAlready) {
		return nil
	}
	return asProblem(err, agentNoun)
}

// deadToken is what is to be on the revocation list.
type deadToken struct {
	agent     agentid.Agent
	id        string
	expiresAt time.Time
	signIn    bool // id is that of a sign-in: whatever names it is dead
}

// revokeTokens puts tokens on the revocation list, in the caller's transaction, which holds a lock on the rows of their agents. It returns how many were not
// there before, and the watermarks of agents that have too many to be there one by one.
func (s *Store) revokeTokens(ctx context.Context, q *orgdb.Queries, org agentid.Organization, all ...deadToken) (added int64, watermarks map[uuid.UUID]time.Time, err error) {
	if len(all) == 0 {
		return 0, nil, nil
	}
	now := s.clock()
	rows := orgdb.InsertRevokedTokensParams{OrgID: org.UUID(), RevokedAt: now}
	for _, t := range all {
		rows.Agents, rows.Ids = append(rows.Agents, t.agent.UUID()), append(rows.Ids, t.id)
		rows.Expiries, rows.SignIns = append(rows.Expiries, t.expiresAt), append(rows.SignIns, t.signIn)
	}
	expired := orgdb.ForgetRevokedTokensParams{OrgID: org.UUID(), Agents: rows.Agents, Before: now.Add(-expiredTokenMargin)}
	if err := q.ForgetRevokedTokens(ctx, expired); err != nil {
		return 0, nil, err
	}
	if added, err = q.InsertRevokedTokens(ctx, rows); err != nil {
		return 0, nil, err
	}
	raised, err := q.RaiseAgentWatermarks(ctx, orgdb.RaiseAgentWatermarksParams{
		OrgID: org.UUID(), Agents: rows.Agents, TokensMax: agentTokensMax, TokensNotBefore: nextSecond(now), At: now,
	})
	if err != nil || len(raised) == 0 {
		return added, nil, err
	}
	watermarks = make(map[uuid.UUID]time.Time, len(raised))
	listed := orgdb.ForgetRevokedTokensParams{OrgID: org.UUID(), Before: forgetAll}
	for _, r := range raised {
		watermarks[r.ID] = orZeroTime(r.TokensNotBefore)
		listed.Agents = append(listed.Agents, r.ID)
	}
	return added, watermarks, q.ForgetRevokedTokens(ctx, listed)
}

// nextSecond is the watermark of a suspension (agents.Service): iat has whole seconds, rounded down.
func nextSecond(now time.Time) time.Time { return now.Truncate(time.Second).Add(time.Second) }

// RevokeOrganizationTokens implements revocation.Store.
func (s *Store) RevokeOrganizationTokens(ctx context.Context, actor audit.Actor, org agentid.Organization) (time.Time, error) {
	var watermark time.Time
	err := s.changeInOrg(ctx, actor, org, func(q *orgdb.Queries) (event, error) {
		var err error
		watermark, err = q.RaiseOrganizationWatermark(ctx, orgdb.RaiseOrganizationWatermarkParams{OrgID: org.UUID(), TokensNotBefore: nextSecond(s.clock())})
		return event{audit.OrganizationRevokeTokens, org.String(), map[string]any{"tokensNotBefore": watermark.UTC().Format(time.RFC3339)}}, err
	})
	if violates(err, "token_watermarks_organization_fkey") {
		return time.Time{}, notFound(organizationNoun)
	}
	return watermark.UTC(), asProblem(err, organizationNoun)
}

// TokenLives implements tokenstate.Store.
func (s *Store) TokenLives(ctx context.Context, org agentid.Organization, f tokenstate.Facts) (bool, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return false, asProblem(err, organizationNoun)
	}
	holders, credentials := make([]uuid.UUID, 0, len(f.Holders)), make([]uuid.UUID, 0, len(f.Holders))
	for _, h := range f.Holders {
		holders, credentials = append(holders, h.Agent.UUID()), append(credentials, h.Credential.UUID())
	}
	lives, err := q.TokenLives(ctx, orgdb.TokenLivesParams{
		OrgID: org.UUID(), IssuedAt: f.IssuedAt, Agents: holders, Credentials: credentials, TokenID: f.TokenID, SignIn: f.SignIn.UUID(),
	})
	return lives, asProblem(err, organizationNoun)
}
