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

// organizationEntriesMax is how many entries of one organization are listed. Beyond it the list has a watermark of the organization instead.
const organizationEntriesMax = 10_000

// listEntriesMax is how many entries are listed at all: at 75 bytes each two thirds of what a sidecar reads (trust.ListBytesMax). Beyond it the organizations
// with the most entries get their watermarks first: those who push pay, and the list never gets too long.
const listEntriesMax = 150_000

// expiredTokenMargin keeps a revoked token listed beyond its exp: verifiers allow their clocks to differ.
const expiredTokenMargin = 5 * time.Minute

// RevocationList renders what sidecars must refuse: suspended and revoked agents, agents and credentials deleted and signing keys revoked in the last 24 hours,
// watermarks younger than that, and revoked tokens that have not expired. The list of the instance's issuer (org is zero) has all of it, that of an organization's
// issuer what is the organization's.
//
// Everything is read in one statement, and each change takes its number in its own transaction (migrations/00002_revocation.sql): a list with
// sequence N holds every change up to N and none after. What ages out leaves the list without a new number, which is harmless: the tokens
// it was for have expired.
func (s *Store) RevocationList(ctx context.Context, issuer string, org agentid.Organization) (*trust.RevocationList, error) {
	now := s.clock()
	rows, err := s.across().RevocationList(ctx, platformdb.RevocationListParams{
		Since: now.Add(-tokenLifetimeMax), Expired: now.Add(-expiredTokenMargin), OrgID: orNullUUID(org.UUID()),
	})
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
	// Keys are listed whatever else is: whoever has one makes tokens that no watermark kills.
	rows = slices.DeleteFunc(rows, func(row platformdb.RevocationListRow) bool {
		if row.KeyID != "" {
			list.Keys = append(list.Keys, trust.Key{ID: row.KeyID})
		}
		return row.KeyID != ""
	})
	for _, o := range bounded(byOrganization(rows), organizationEntriesMax, listEntriesMax) {
		o.render(list, now)
	}
	return list, nil
}

// dead is what is revoked in one organization.
type dead struct {
	org     uuid.UUID
	rows    []platformdb.RevocationListRow
	tooMany bool // one watermark says it all
}

// byOrganization cuts rows, which are sorted by organization.
func byOrganization(rows []platformdb.RevocationListRow) []*dead {
	var all []*dead
	for i, row := range rows {
		switch {
		case row.OrgID == uuid.Nil: // nothing is revoked
		case len(all) == 0 || all[len(all)-1].org != row.OrgID:
			all = append(all, &dead{org: row.OrgID, rows: rows[i : i+1 : i+1]})
		default:
			last := all[len(all)-1]
			last.rows = rows[i-len(last.rows) : i+1 : i+1]
		}
	}
	return all
}

// bounded marks the organizations that say too much: those beyond perOrganization, and the largest of the others until the rest is within total.
func bounded(all []*dead, perOrganization, total int) []*dead {
	count := 0
	for _, o := range all {
		if o.tooMany = len(o.rows) > perOrganization; !o.tooMany {
			count += len(o.rows)
		}
	}
	if count <= total {
		return all
	}
	bySize := slices.Clone(all)
	slices.SortStableFunc(bySize, func(a, b *dead) int { return len(b.rows) - len(a.rows) })
	for _, o := range bySize {
		if count <= total {
			break
		}
		if !o.tooMany {
			o.tooMany = true
			count -= len(o.rows)
		}
	}
	return all
}

// render adds the entries, or the one that takes their place: whatever was revoked in the organization was issued before the latest revocation of it.
func (o *dead) render(list *trust.RevocationList, now time.Time) {
	id := agentid.FromUUID[agentid.Organization](o.org).String()
	if o.tooMany {
		latest := now.Add(-tokenLifetimeMax)
		for _, row := range o.rows {
			if at := orZeroTime(row.DeadBefore); at.After(latest) {
				latest = at
			}
		}
		list.Organizations = append(list.Organizations, trust.Organization{ID: id, IssuedBefore: latest.Unix() + 1})
		return
	}
	credentials := map[uuid.UUID][]platformdb.RevocationListRow{}
	for _, row := range o.rows {
		switch {
		case row.SignIn: // named by tokens as the credential of the relying party
			list.Credentials = append(list.Credentials, trust.Credential{ID: row.TokenID})
		case row.TokenID != "":
			list.Tokens = append(list.Tokens, trust.Token{ID: row.TokenID, ExpiresAt: ceilSeconds(orZeroTime(row.ExpiresAt))})
		case row.CredentialID != uuid.Nil:
			credentials[row.AgentID] = append(credentials[row.AgentID], row)
		case row.AgentID != uuid.Nil:
			list.Agents = append(list.Agents, deadAgent(row))
		default:
			list.Organizations = append(list.Organizations, trust.Organization{ID: id, IssuedBefore: ceilSeconds(orZeroTime(row.DeadBefore))})
		}
	}
	for _, agent := range slices.SortedFunc(maps.Keys(credentials), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }) {
		addCredentials(list, agent, credentials[agent])
	}
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
