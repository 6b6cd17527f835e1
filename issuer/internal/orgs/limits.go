package orgs

import (
	"context"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// Limits are how many token requests the clients of an organization may make. A zero limit is that of the instance.
type Limits struct {
	Organization ratelimit.Limit // all clients together
	Client       ratelimit.Limit // each of them
	UpdatedAt    time.Time
	Version      int64 // 1 as long as nothing was set
}

// CheckLimit says what is wrong with a limit that is given.
func CheckLimit(field string, l ratelimit.Limit) error {
	if err := l.Validate(); err != nil {
		return &problem.Error{Kind: problem.Invalid, Code: "limit_range", Field: field, Detail: fmt.Sprintf("This limit is out of range: %v.", err)}
	}
	return nil
}

// LimitsStore keeps limits; contracts as Store.
type LimitsStore interface {
	OrganizationLimits(ctx context.Context, id agentid.Organization) (Limits, error)
	// PutOrganizationLimits replaces both limits.
	PutOrganizationLimits(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, l Limits) (Limits, error)
}

// LimitsService validates and delegates to a LimitsStore.
type LimitsService struct {
	store LimitsStore
	now   func() time.Time
}

// NewLimitsService returns a LimitsService over store.
func NewLimitsService(store LimitsStore, now func() time.Time) *LimitsService {
	return &LimitsService{store, now}
}

// Get returns the limits of an organization.
func (s *LimitsService) Get(ctx context.Context, id agentid.Organization) (Limits, error) {
	return s.store.OrganizationLimits(ctx, id)
}

// Put replaces them. version 0 means the caller did not say which version it saw.
func (s *LimitsService) Put(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, l Limits) (Limits, error) {
	for field, limit := range map[string]ratelimit.Limit{"/organization": l.Organization, "/client": l.Client} {
		if limit.IsZero() {
			continue
		}
		if err := CheckLimit(field, limit); err != nil {
			return Limits{}, err
		}
	}
	l.UpdatedAt = s.now().UTC().Truncate(time.Microsecond)
	return s.store.PutOrganizationLimits(ctx, actor, id, version, l)
}
