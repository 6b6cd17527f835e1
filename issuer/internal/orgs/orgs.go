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
	Slug        string // [a-z0-9-], 2 to 40, unique in the instance, never changes
	DisplayName string // 1 to 200 characters
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Version     int64 // grows by one with each change; ETag
}

// Create and Update are requests; a nil field of Update is left as it is.
type Create struct{ Slug, DisplayName string }
type Update struct{ DisplayName *string }

// Store keeps organizations. Every mutation writes its audit row in the same transaction. Missing: *problem.Error of kind NotFound;
// slug taken: Conflict; version (when not 0) differs: PreconditionFailed; delete while agents exist: Conflict.
type Store interface {
	CreateOrganization(ctx context.Context, actor audit.Actor, o Organization) (Organization, error)
	Organization(ctx context.Context, id agentid.Organization) (Organization, error)
	Organizations(ctx context.Context, after agentid.Organization, limit int) ([]Organization, error)
	UpdateOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, change func(*Organization) error) (Organization, error)
	DeleteOrganization(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64) error
}

// Service validates and delegates to a Store.
type Service struct{ store Store }

func NewService(store Store, now func() time.Time) *Service { panic("contract") }

func (s *Service) Create(ctx context.Context, actor audit.Actor, in Create) (Organization, error) {
	panic("contract")
}
func (s *Service) Get(ctx context.Context, id agentid.Organization) (Organization, error) {
	panic("contract")
}
func (s *Service) List(ctx context.Context, after agentid.Organization, limit int) ([]Organization, error) {
	panic("contract")
}
func (s *Service) Update(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, in Update) (Organization, error) {
	panic("contract")
}
func (s *Service) Delete(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64) error {
	panic("contract")
}
