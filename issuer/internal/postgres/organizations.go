package postgres

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

const organizationNoun = "organization"

// CreateOrganization implements orgs.Store.
func (s *Store) CreateOrganization(ctx context.Context, actor audit.Actor, o orgs.Organization) (orgs.Organization, error) {
	err := s.changeAcross(ctx, actor, o.ID, func(q *platformdb.Queries) (event, error) {
		err := q.InsertOrganization(ctx, platformdb.InsertOrganizationParams{
			OrgID: o.ID.UUID(), Slug: o.Slug, DisplayName: o.DisplayName, CreatedAt: o.CreatedAt, UpdatedAt: o.UpdatedAt, Version: o.Version,
		})
		return event{audit.OrganizationCreate, o.ID.String(), map[string]any{"slug": o.Slug, "displayName": o.DisplayName}}, err
	})
	return o, asProblem(err, organizationNoun)
}

// Organization implements orgs.Store.
func (s *Store) Organization(ctx context.Context, id agentid.Organization) (orgs.Organization, error) {
	if id.IsZero() {
		return orgs.Organization{}, notFound(organizationNoun)
	}
	q, err := s.orgOnce(id)
	if err != nil {
		return orgs.Organization{}, asProblem(err, organizationNoun)
	}
	row, err := q.Organization(ctx, id.UUID())
	return organization(platformdb.Organization(row)), asProblem(err, organizationNoun)
}

// Organizations implements orgs.Store.
func (s *Store) Organizations(ctx context.Context, after agentid.Organization, limit int) ([]orgs.Organization, error) {
	rows, err := s.across().Organizations(ctx, platformdb.OrganizationsParams{After: after.UUID(), RowLimit: int32(limit)})
	if err != nil {
		return nil, asProblem(err, organizationNoun)
	}
	list := make([]orgs.Organization, 0, len(rows))
	for _, row := range rows {
		list = append(list, organization(row))
	}
	return list, nil
}

// OrganizationBySlug finds an organization by the name in its issuer's URL.
func (s *Store) OrganizationBySlug(ctx context.Context, slug string) (orgs.Organization, error) {
	row, err := s.across().OrganizationBySlug(ctx, slug)
	return organization(row), asProblem(err, organizationNoun)
}

// UpdateOrganization implements orgs.Store.
func (s *Store) UpdateOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, change func(*orgs.Organization) error) (orgs.Organization, error) {
	var after orgs.Organization
	err := s.changeAcross(ctx, actor, id, func(q *platformdb.Queries) (event, error) {
		before, err := lockOrganization(ctx, q, id, version)
		if err != nil {
			return event{}, err
		}
		after = before
		if err := change(&after); err != nil {
			return event{}, err
		}
		after.ID, after.Slug, after.CreatedAt, after.Version = before.ID, before.Slug, before.CreatedAt, before.Version+1
		err = q.UpdateOrganization(ctx, platformdb.UpdateOrganizationParams{
			OrgID: id.UUID(), DisplayName: after.DisplayName, UpdatedAt: after.UpdatedAt, Version: after.Version,
		})
		details := map[string]any{}
		if after.DisplayName != before.DisplayName {
			details["displayName"] = map[string]any{"from": before.DisplayName, "to": after.DisplayName}
		}
		return event{audit.OrganizationUpdate, id.String(), details}, err
	})
	if err != nil {
		return orgs.Organization{}, asProblem(err, organizationNoun)
	}
	return after, nil
}

// DeleteOrganization implements orgs.Store. Agents and relying parties of the organization stop it by their foreign keys, also one created at the same moment. Its
// signing keys go with it.
func (s *Store) DeleteOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64) error {
	err := s.changeAcross(ctx, actor, id, func(q *platformdb.Queries) (event, error) {
		before, err := lockOrganization(ctx, q, id, version)
		if err != nil {
			return event{}, err
		}
		if err := q.DeleteSigningIssuer(ctx, id.UUID()); err != nil {
			return event{}, err
		}
		return event{audit.OrganizationDelete, id.String(), map[string]any{"slug": before.Slug}}, q.DeleteOrganization(ctx, id.UUID())
	})
	return asProblem(err, organizationNoun)
}

func lockOrganization(ctx context.Context, q *platformdb.Queries, id agentid.Organization, version int64) (orgs.Organization, error) {
	row, err := q.OrganizationForUpdate(ctx, id.UUID())
	if err != nil {
		return orgs.Organization{}, err
	}
	if version != 0 && version != row.Version {
		return orgs.Organization{}, versionDiffers()
	}
	return organization(row), nil
}

func organization(row platformdb.Organization) orgs.Organization {
	return orgs.Organization{
		ID: agentid.FromUUID[agentid.Organization](row.OrgID), Slug: row.Slug, DisplayName: row.DisplayName,
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(), Version: row.Version,
	}
}
