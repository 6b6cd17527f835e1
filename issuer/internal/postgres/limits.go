package postgres

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// OrganizationLimits implements orgs.LimitsStore.
func (s *Store) OrganizationLimits(ctx context.Context, id agentid.Organization) (orgs.Limits, error) {
	row, err := s.across().OrganizationLimits(ctx, id.UUID())
	if err != nil {
		return orgs.Limits{}, asProblem(err, organizationNoun)
	}
	return limits(row), nil
}

// PutOrganizationLimits implements orgs.LimitsStore. The lock on the organization's row keeps the version true until the transaction ends.
func (s *Store) PutOrganizationLimits(ctx context.Context, actor audit.Actor, id agentid.Organization, version int64, l orgs.Limits) (orgs.Limits, error) {
	err := s.changeAcross(ctx, actor, id, func(q *platformdb.Queries) (event, error) {
		if _, err := lockOrganization(ctx, q, id, 0); err != nil {
			return event{}, err
		}
		row, err := q.OrganizationLimits(ctx, id.UUID())
		if err != nil {
			return event{}, err
		}
		before := limits(row)
		if version != 0 && version != before.Version {
			return event{}, versionDiffers()
		}
		l.Version = before.Version + 1
		p := platformdb.PutOrganizationLimitsParams{OrgID: id.UUID(), UpdatedAt: l.UpdatedAt, Version: l.Version}
		p.PerMinute, p.Burst = columns(l.Organization)
		p.ClientPerMinute, p.ClientBurst = columns(l.Client)
		details := map[string]any{"organization": described(before.Organization, l.Organization), "client": described(before.Client, l.Client)}
		return event{audit.OrganizationLimits, id.String(), details}, q.PutOrganizationLimits(ctx, p)
	})
	if err != nil {
		return orgs.Limits{}, asProblem(err, organizationNoun)
	}
	return l, nil
}

func limits(row platformdb.OrganizationLimitsRow) orgs.Limits {
	return orgs.Limits{
		Organization: limit(row.PerMinute, row.Burst), Client: limit(row.ClientPerMinute, row.ClientBurst), UpdatedAt: row.UpdatedAt.UTC(), Version: row.Version,
	}
}

func limit(perMinute, burst *int64) ratelimit.Limit {
	if perMinute == nil || burst == nil {
		return ratelimit.Limit{}
	}
	return ratelimit.Limit{PerMinute: *perMinute, Burst: *burst}
}

func columns(l ratelimit.Limit) (perMinute, burst *int64) {
	if l.IsZero() {
		return nil, nil
	}
	return &l.PerMinute, &l.Burst
}

// described is a limit in an audit record; null is that of the instance.
func described(before, after ratelimit.Limit) map[string]any {
	value := func(l ratelimit.Limit) any {
		if l.IsZero() {
			return nil
		}
		return map[string]any{"perMinute": l.PerMinute, "burst": l.Burst}
	}
	return map[string]any{"from": value(before), "to": value(after)}
}
