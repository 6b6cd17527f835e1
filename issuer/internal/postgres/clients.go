package postgres

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
)

const clientNoun = "client"

var _ clients.Store = (*Store)(nil)

// CreateClient implements clients.Store.
func (s *Store) CreateClient(ctx context.Context, actor audit.Actor, c clients.Client, first *clients.Credential, hash []byte) (clients.Client, error) {
	err := s.changeInOrg(ctx, actor, c.OrganizationID, func(q *orgdb.Queries) (event, error) {
		details, err := insertClient(ctx, q, c, first, hash)
		return event{audit.ClientCreate, c.ID.String(), details}, err
	})
	if violates(err, "clients_organization_fkey") {
		return clients.Client{}, notFound(organizationNoun)
	}
	return c, asProblem(err, clientNoun)
}

// insertClient stores a relying party with its first credential, and says what the audit log says of both.
func insertClient(ctx context.Context, q *orgdb.Queries, c clients.Client, first *clients.Credential, hash []byte) (map[string]any, error) {
	if err := q.InsertClient(ctx, orgdb.InsertClientParams(clientRow(c))); err != nil {
		return nil, err
	}
	details := c.Changes(clients.Client{})
	if first == nil {
		return details, nil
	}
	created, err := insertClientCredential(ctx, q, c, *first, hash)
	details["credentialId"], details["credential"] = first.ID.String(), describeClients(created)
	return details, err
}

// organizationOfClient finds the organization of a relying party, as the platform role. Unlike an agent's, a relying party's existence is no secret: its id
// stands in every authorization request.
func (s *Store) organizationOfClient(ctx context.Context, id agentid.Client) (agentid.Organization, error) {
	org, err := s.across().OrganizationOfClient(ctx, id.UUID())
	if err != nil {
		return agentid.Organization{}, asProblem(err, clientNoun)
	}
	return agentid.FromUUID[agentid.Organization](org), nil
}

// Client implements clients.Store.
func (s *Store) Client(ctx context.Context, id agentid.Client) (clients.Client, error) {
	org, err := s.organizationOfClient(ctx, id)
	if err != nil {
		return clients.Client{}, err
	}
	q, err := s.orgOnce(org)
	if err != nil {
		return clients.Client{}, asProblem(err, clientNoun)
	}
	row, err := q.Client(ctx, orgdb.ClientParams{OrgID: org.UUID(), ID: id.UUID()})
	return client(row), asProblem(err, clientNoun)
}

// Clients implements clients.Store. An organization that does not exist has none.
func (s *Store) Clients(ctx context.Context, org agentid.Organization, after agentid.Client, limit int) ([]clients.Client, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return nil, asProblem(err, clientNoun)
	}
	rows, err := q.Clients(ctx, orgdb.ClientsParams{OrgID: org.UUID(), After: after.UUID(), RowLimit: int32(limit)})
	if err != nil {
		return nil, asProblem(err, clientNoun)
	}
	list := make([]clients.Client, 0, len(rows))
	for _, row := range rows {
		list = append(list, client(row))
	}
	return list, nil
}

// changeClient runs fn with the relying party's row locked.
func (s *Store) changeClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, fn func(*orgdb.Queries, clients.Client) (event, error)) error {
	if err := actor.Validate(); err != nil {
		return err
	}
	org, err := s.organizationOfClient(ctx, id)
	if err != nil {
		return err
	}
	return s.changeInOrg(ctx, actor, org, func(q *orgdb.Queries) (event, error) {
		row, err := q.ClientForUpdate(ctx, orgdb.ClientForUpdateParams{OrgID: org.UUID(), ID: id.UUID()})
		if err != nil {
			return event{}, asProblem(err, clientNoun)
		}
		if version != 0 && version != row.Version {
			return event{}, versionDiffers()
		}
		return fn(q, client(row))
	})
}

// UpdateClient implements clients.Store.
func (s *Store) UpdateClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, change func(*clients.Client) error) (clients.Client, error) {
	var after clients.Client
	err := s.changeClient(ctx, actor, id, version, func(q *orgdb.Queries, before clients.Client) (event, error) {
		after = before
		if err := change(&after); err != nil {
			return event{}, err
		}
		if err := refuseOtherKind(ctx, q, before, after); err != nil {
			return event{}, err
		}
		after.ID, after.OrganizationID, after.CreatedAt, after.Version = before.ID, before.OrganizationID, before.CreatedAt, before.Version+1
		row := clientRow(after)
		return event{audit.ClientUpdate, id.String(), after.Changes(before)}, q.UpdateClient(ctx, orgdb.UpdateClientParams{
			OrgID: row.OrgID, ID: row.ID, Name: row.Name, Type: row.Type, Authentication: row.Authentication,
			RedirectUris: row.RedirectUris, Scopes: row.Scopes, Audiences: row.Audiences, RefreshTokens: row.RefreshTokens, RequirePushed: row.RequirePushed,
			RequireDpop: row.RequireDpop, RequireCertificate: row.RequireCertificate, PkceOptional: row.PkceOptional, UpdatedAt: row.UpdatedAt, Version: row.Version,
		})
	})
	if err != nil {
		return clients.Client{}, asProblem(err, clientNoun)
	}
	return after, nil
}

// DeleteClient implements clients.Store. Its sign-ins end, and their tokens are on the revocation list.
func (s *Store) DeleteClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64) error {
	err := s.changeClient(ctx, actor, id, version, func(q *orgdb.Queries, before clients.Client) (event, error) {
		signIns, revoked, err := s.endSignIns(ctx, q, before.OrganizationID, id)
		if err != nil {
			return event{}, err
		}
		details := map[string]any{"name": before.Name, "signIns": signIns, "revoked": revoked}
		return event{audit.ClientDelete, id.String(), details}, q.DeleteClient(ctx, orgdb.DeleteClientParams{OrgID: before.OrganizationID.UUID(), ID: id.UUID()})
	})
	return asProblem(err, clientNoun)
}

func clientRow(c clients.Client) orgdb.Client {
	return orgdb.Client{
		OrgID: c.OrganizationID.UUID(), ID: c.ID.UUID(), Name: c.Name, Type: string(c.Type), Authentication: string(c.Authentication),
		RedirectUris: list(c.RedirectURIs), Scopes: list(c.Scopes), Audiences: list(c.Audiences),
		RefreshTokens: c.RefreshTokens, RequirePushed: c.RequirePushed, RequireDpop: c.RequireDPoP, RequireCertificate: c.RequireCertificate, PkceOptional: c.PKCEOptional,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, Version: c.Version,
	}
}

// list is never nil: the columns are not null.
func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func client(row orgdb.Client) clients.Client {
	return clients.Client{
		ID: agentid.FromUUID[agentid.Client](row.ID), OrganizationID: agentid.FromUUID[agentid.Organization](row.OrgID),
		Name: row.Name, Type: clients.Type(row.Type), Authentication: credentials.Method(row.Authentication),
		RedirectURIs: row.RedirectUris, Scopes: row.Scopes, Audiences: row.Audiences,
		RefreshTokens: row.RefreshTokens, RequirePushed: row.RequirePushed, RequireDPoP: row.RequireDpop, RequireCertificate: row.RequireCertificate, PKCEOptional: row.PkceOptional,
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(), Version: row.Version,
	}
}
