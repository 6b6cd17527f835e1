package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/agents"
)

// tokenLifetimeMax is how long a token can live anywhere, with a wide margin: what was revoked longer ago has no token left to kill.
const tokenLifetimeMax = 24 * time.Hour

// RevocationList renders what sidecars must refuse: suspended and revoked agents, agents deleted in the last 24 hours, and watermarks younger than that.
//
// The sequence and the agents are read in one statement, and each change takes its number in its own transaction (migrations/00002_revocation.sql): a list with
// sequence N holds every change up to N and none after. A watermark that ages out leaves the list without a new number, which is harmless: the tokens
// it was for have expired.
func (s *Store) RevocationList(ctx context.Context, issuer string) (*trust.RevocationList, error) {
	now := s.clock()
	rows, err := s.across().RevocationList(ctx, now.Add(-tokenLifetimeMax))
	if err != nil {
		return nil, asProblem(err, "revocation list")
	}
	if len(rows) == 0 {
		return nil, asProblem(errNoSequence, "revocation list")
	}
	list := &trust.RevocationList{
		Issuer: issuer, Sequence: rows[0].Sequence, IssuedAt: now.Unix(),
		Agents: []trust.Agent{}, Organizations: []trust.Organization{}, Keys: []trust.Key{}, Tokens: []trust.Token{},
	}
	for _, row := range rows {
		if row.AgentID == uuid.Nil {
			continue
		}
		dead := trust.Agent{ID: agentid.FromUUID[agentid.Agent](row.AgentID).String()}
		if agents.Status(row.Status) == agents.Active { // came back: only what was issued before the watermark stays dead
			dead.IssuedBefore = ceilSeconds(orZeroTime(row.TokensNotBefore))
		}
		list.Agents = append(list.Agents, dead)
	}
	return list, nil
}

// ceilSeconds errs on the dead side: iat is rounded down to the second.
func ceilSeconds(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}
