package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

const agentNoun = "agent"

// CreateAgent implements agents.Store.
func (s *Store) CreateAgent(ctx context.Context, actor audit.Actor, a agents.Agent) (agents.Agent, error) {
	err := s.changeInOrg(ctx, actor, a.OrganizationID, func(q *orgdb.Queries) (event, error) {
		err := q.InsertAgent(ctx, agentRow(a))
		return event{audit.AgentCreate, a.ID.String(), a.Changes(agents.Agent{})}, err
	})
	if violates(err, "agents_organization_fkey") {
		return agents.Agent{}, notFound(organizationNoun)
	}
	return a, asProblem(err, agentNoun)
}

// organizationOf finds the organization of an agent, as the platform role.
func (s *Store) organizationOf(ctx context.Context, id agentid.Agent) (agentid.Organization, error) {
	org, err := s.across().OrganizationOfAgent(ctx, id.UUID())
	if err != nil {
		return agentid.Organization{}, asProblem(err, agentNoun)
	}
	return agentid.FromUUID[agentid.Organization](org), nil
}

// Agent implements agents.Store.
func (s *Store) Agent(ctx context.Context, id agentid.Agent) (agents.Agent, error) {
	org, err := s.organizationOf(ctx, id)
	if err != nil {
		return agents.Agent{}, err
	}
	q, err := s.orgOnce(org)
	if err != nil {
		return agents.Agent{}, asProblem(err, agentNoun)
	}
	row, err := q.Agent(ctx, orgdb.AgentParams{OrgID: org.UUID(), ID: id.UUID()})
	return agent(row), asProblem(err, agentNoun)
}

// Agents implements agents.Store. An organization that does not exist has none.
func (s *Store) Agents(ctx context.Context, org agentid.Organization, after agentid.Agent, limit int) ([]agents.Agent, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return nil, asProblem(err, agentNoun)
	}
	rows, err := q.Agents(ctx, orgdb.AgentsParams{OrgID: org.UUID(), After: after.UUID(), RowLimit: int32(limit)})
	if err != nil {
		return nil, asProblem(err, agentNoun)
	}
	list := make([]agents.Agent, 0, len(rows))
	for _, row := range rows {
		list = append(list, agent(row))
	}
	return list, nil
}

// changeAgent runs fn with the agent's row locked: changes of one agent, its credentials and its tokens happen one after the other.
func (s *Store) changeAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, fn func(*orgdb.Queries, agents.Agent) (event, error)) error {
	if err := actor.Validate(); err != nil {
		return err
	}
	org, err := s.organizationOf(ctx, id)
	if err != nil {
		return err
	}
	return s.changeInOrg(ctx, actor, org, func(q *orgdb.Queries) (event, error) {
		row, err := q.AgentForUpdate(ctx, orgdb.AgentForUpdateParams{OrgID: org.UUID(), ID: id.UUID()})
		if err != nil {
			return event{}, asProblem(err, agentNoun)
		}
		return fn(q, agent(row))
	})
}

// UpdateAgent implements agents.Store.
func (s *Store) UpdateAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, action audit.Action, change func(*agents.Agent) error) (agents.Agent, error) {
	var after agents.Agent
	err := s.changeAgent(ctx, actor, id, func(q *orgdb.Queries, before agents.Agent) (event, error) {
		if version != 0 && version != before.Version {
			return event{}, versionDiffers()
		}
		after = before
		if err := change(&after); err != nil {
			return event{}, err
		}
		after.ID, after.OrganizationID, after.CreatedAt, after.Version = before.ID, before.OrganizationID, before.CreatedAt, before.Version+1
		return event{action, id.String(), after.Changes(before)}, q.UpdateAgent(ctx, orgdb.UpdateAgentParams{
			OrgID: after.OrganizationID.UUID(), ID: id.UUID(), Name: after.Name, Type: after.Type, Description: after.Description,
			Capabilities: after.Capabilities, Scopes: after.Scopes, Audiences: after.Audiences, Serves: after.Serves, DpopBound: after.DPoPBound, CertificateBound: after.CertificateBound,
			Status: string(after.Status), TokensNotBefore: orNullTime(after.TokensNotBefore), UpdatedAt: after.UpdatedAt, Version: after.Version,
		})
	})
	if err != nil {
		return agents.Agent{}, asProblem(err, agentNoun)
	}
	return after, nil
}

// DeleteAgent implements agents.Store. Credentials go with it; a trigger keeps its id for the revocation list.
func (s *Store) DeleteAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error {
	err := s.changeAgent(ctx, actor, id, func(q *orgdb.Queries, before agents.Agent) (event, error) {
		if version != 0 && version != before.Version {
			return event{}, versionDiffers()
		}
		err := q.DeleteAgent(ctx, orgdb.DeleteAgentParams{OrgID: before.OrganizationID.UUID(), ID: id.UUID()})
		return event{audit.AgentDelete, id.String(), map[string]any{"name": before.Name}}, err
	})
	return asProblem(err, agentNoun)
}

// ClientForAuthentication implements agents.Store.
func (s *Store) ClientForAuthentication(ctx context.Context, id agentid.Agent, now time.Time) (agents.Agent, []credentials.Registered, error) {
	row, err := s.across().ClientForAuthentication(ctx, platformdb.ClientForAuthenticationParams{ID: id.UUID(), At: now})
	if err != nil {
		return agents.Agent{}, nil, asProblem(err, agentNoun)
	}
	registered, err := registeredOf(row)
	if err != nil {
		return agents.Agent{}, nil, asProblem(err, agentNoun)
	}
	if row.ID == uuid.Nil {
		return agents.Agent{}, nil, notFound(agentNoun)
	}
	return agent(orgdb.Agent{
		OrgID: row.OrgID, ID: row.ID, Name: row.Name, Type: row.Type, Description: row.Description,
		Capabilities: row.Capabilities, Scopes: row.Scopes, Audiences: row.Audiences, Serves: row.Serves, DpopBound: row.DpopBound, CertificateBound: row.CertificateBound,
		Status: row.Status, TokensNotBefore: row.TokensNotBefore,
		CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, Version: row.Version,
	}), registered, nil
}

// registeredOf leaves the decoy out.
func registeredOf(row platformdb.ClientForAuthenticationRow) ([]credentials.Registered, error) {
	var registered []credentials.Registered
	for i, id := range row.CredentialIds {
		if id == uuid.Nil {
			continue
		}
		r, err := registeredAs(id, row.CredentialKinds[i], row.SecretHashes[i], row.Registrations[i])
		if err != nil {
			return nil, err
		}
		registered = append(registered, r)
	}
	return registered, nil
}

func registeredAs(id uuid.UUID, kind string, hash []byte, text string) (credentials.Registered, error) {
	r, err := registration([]byte(text))
	return credentials.Registered{Credential: agentid.FromUUID[agentid.Credential](id), Kind: kind, Hash: hash, Registration: r}, err
}

func agentRow(a agents.Agent) orgdb.InsertAgentParams {
	return orgdb.InsertAgentParams{
		OrgID: a.OrganizationID.UUID(), ID: a.ID.UUID(), Name: a.Name, Type: a.Type, Description: a.Description,
		Capabilities: a.Capabilities, Scopes: a.Scopes, Audiences: a.Audiences, Serves: a.Serves, DpopBound: a.DPoPBound, CertificateBound: a.CertificateBound,
		Status: string(a.Status), TokensNotBefore: orNullTime(a.TokensNotBefore), CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, Version: a.Version,
	}
}

func agent(row orgdb.Agent) agents.Agent {
	return agents.Agent{
		ID: agentid.FromUUID[agentid.Agent](row.ID), OrganizationID: agentid.FromUUID[agentid.Organization](row.OrgID),
		Name: row.Name, Type: row.Type, Description: row.Description,
		Capabilities: row.Capabilities, Scopes: row.Scopes, Audiences: row.Audiences, Serves: row.Serves, DPoPBound: row.DpopBound, CertificateBound: row.CertificateBound,
		Status: agents.Status(row.Status), TokensNotBefore: orZeroTime(row.TokensNotBefore),
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(), Version: row.Version,
	}
}
