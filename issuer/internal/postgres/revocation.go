package postgres

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// tokenLifetimeMax is how long a token can live anywhere, with a wide margin: what was revoked longer ago has no token left to kill.
const tokenLifetimeMax = 24 * time.Hour

// agentCredentialsMax is how many deleted credentials of one agent are listed one by one. Beyond it the list has a watermark of the agent instead, which kills
// more and never less: nobody makes the list too long for sidecars, and so them all blind, by creating credentials and deleting them.
const agentCredentialsMax = 16

// RevocationList renders what sidecars must refuse: suspended and revoked agents, agents and credentials deleted in the last 24 hours, and watermarks younger
// than that.
//
// The sequence, the agents and the credentials are read in one statement, and each change takes its number in its own transaction (migrations/00002_revocation.sql): a list with
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
		Agents: []trust.Agent{}, Organizations: []trust.Organization{}, Credentials: []trust.Credential{}, Keys: []trust.Key{}, Tokens: []trust.Token{},
		Issuers: []trust.Issuer{}, Partners: []trust.Partner{},
	}
	deleted := map[uuid.UUID][]platformdb.RevocationListRow{}
	for _, row := range rows {
		switch {
		case row.AgentID == uuid.Nil:
		case row.CredentialID == uuid.Nil:
			list.Agents = append(list.Agents, deadAgent(row))
		default:
			deleted[row.AgentID] = append(deleted[row.AgentID], row)
		}
	}
	for _, agent := range slices.SortedFunc(maps.Keys(deleted), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		addCredentials(list, agent, deleted[agent])
	}
	return list, nil
}

func deadAgent(row platformdb.RevocationListRow) trust.Agent {
	dead := trust.Agent{ID: agentid.FromUUID[agentid.Agent](row.AgentID).String()}
	if agents.Status(row.Status) == agents.Active { // came back: only what was issued before the watermark stays dead
		dead.IssuedBefore = ceilSeconds(orZeroTime(row.DeadBefore))
	}
	return dead
}

// addCredentials lists the deleted credentials of one agent.
func addCredentials(list *trust.RevocationList, agent uuid.UUID, deleted []platformdb.RevocationListRow) {
	if len(deleted) > agentCredentialsMax {
		var last time.Time
		for _, row := range deleted {
			if at := orZeroTime(row.DeadBefore); at.After(last) {
				last = at
			}
		}
		// As the watermark of a suspension: the next whole second, because iat is rounded down.
		list.Agents = append(list.Agents, trust.Agent{ID: agentid.FromUUID[agentid.Agent](agent).String(), IssuedBefore: last.Unix() + 1})
		return
	}
	for _, row := range deleted {
		list.Credentials = append(list.Credentials, trust.Credential{ID: agentid.FromUUID[agentid.Credential](row.CredentialID).String()})
	}
}

// ceilSeconds errs on the dead side: iat is rounded down to the second.
func ceilSeconds(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}
