// Package orgs holds organizations: isolated namespaces of agents, credentials and audit.
package orgs

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Organization is one tenant.
type Organization struct {
	ID          agentid.Organization
	Slug        string // [a-z0-9-], 2 to 40, unique in the instance, never changes, and is never given again
	DisplayName string // 1 to 200 characters
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     int64 // grows by one with each change; ETag
}

// Create and Update are requests; a nil field of Update is left as it is.
type (
	Create struct{ Slug, DisplayName string }
	Update struct{ DisplayName *string }
)

// Store keeps organizations. Every mutation writes its audit row in the same transaction. Missing: *problem.Error of kind NotFound;
// slug taken, also by one that was deleted: Conflict; version (when not 0) differs: PreconditionFailed; delete while agents or relying parties exist: Conflict.
//
// change is called with the locked row, may be called more than once, and its error is returned as it is.
type Store interface {
	CreateOrganization(ctx context.Context, actor audit.Actor, o Organization) (Organization, error)
	Organization(ctx context.Context, id agentid.Organization) (Organization, error)
	Organizations(ctx context.Context, after agentid.Organization, limit int) ([]Organization, error)
	UpdateOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, change func(*Organization) error) (Organization, error)
	DeleteOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64) error
}

// Service validates and delegates to a Store.
type Service struct {
	store Store
	now   func() time.Time
}

// NewService returns a Service over store.
func NewService(store Store, now func() time.Time) *Service { return &Service{store, now} }

// Create makes an organization with a fresh id.
func (s *Service) Create(ctx context.Context, actor audit.Actor, in Create) (Organization, error) {
	if err := checkSlug(in.Slug); err != nil {
		return Organization{}, err
	}
	if err := checkDisplayName(in.DisplayName); err != nil {
		return Organization{}, err
	}
	now := s.now().UTC().Truncate(time.Microsecond) // the resolution of PostgreSQL: what is answered now is what is read later
	return s.store.CreateOrganization(ctx, actor, Organization{
		ID: agentid.New[agentid.Organization](), Slug: in.Slug, DisplayName: in.DisplayName, CreatedAt: now, UpdatedAt: now, Version: 1,
	})
}

// Get returns one organization.
func (s *Service) Get(ctx context.Context, id agentid.Organization) (Organization, error) {
	return s.store.Organization(ctx, id)
}

// List returns up to limit organizations in order of creation, those after the given id.
func (s *Service) List(ctx context.Context, after agentid.Organization, limit int) ([]Organization, error) {
	return s.store.Organizations(ctx, after, limit)
}

// Update changes what may change. version 0 means the caller did not say which version it saw.
func (s *Service) Update(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, in Update) (Organization, error) {
	if in.DisplayName != nil {
		if err := checkDisplayName(*in.DisplayName); err != nil {
			return Organization{}, err
		}
	}
	return s.store.UpdateOrganization(ctx, actor, id, version, func(o *Organization) error {
		if in.DisplayName != nil {
			o.DisplayName = *in.DisplayName
		}
		o.UpdatedAt = s.now().UTC().Truncate(time.Microsecond)
		return nil
	})
}

// Delete removes an organization that has neither agents nor relying parties. Its audit log stays.
func (s *Service) Delete(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64) error {
	return s.store.DeleteOrganization(ctx, actor, id, version)
}
