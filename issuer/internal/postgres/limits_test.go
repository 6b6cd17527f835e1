package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

func TestOrganizationLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, other := b.newOrganization(t, "acme"), b.newOrganization(t, "other")
	get := func(id agentid.Organization, want orgs.Limits) {
		t.Helper()
		got, err := b.OrganizationLimits(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	get(org.ID, orgs.Limits{UpdatedAt: org.CreatedAt, Version: 1})

	first := orgs.Limits{Organization: ratelimit.Limit{PerMinute: 600, Burst: 50}, UpdatedAt: start.Add(time.Minute)}
	put, err := b.PutOrganizationLimits(t.Context(), operator, org.ID, 1, first)
	first.Version = 2
	if err != nil || put != first {
		t.Errorf("%+v, %v", put, err)
	}
	get(org.ID, first)
	_, err = b.PutOrganizationLimits(t.Context(), operator, org.ID, 1, first)
	wantProblem(t, "an old version", err, problem.PreconditionFailed, "version_differs")

	second := orgs.Limits{Client: ratelimit.Limit{PerMinute: 60, Burst: 5}, UpdatedAt: start.Add(time.Hour)}
	if _, err := b.PutOrganizationLimits(t.Context(), operator, org.ID, 0, second); err != nil {
		t.Fatal(err)
	}
	second.Version = 3
	get(org.ID, second) // what is left out is the instance's again
	get(other.ID, orgs.Limits{UpdatedAt: other.CreatedAt, Version: 1})

	records, err := b.AuditRecords(t.Context(), org.ID, audit.Filter{Action: audit.OrganizationLimits}, agentid.Event{}, 10)
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	want := map[string]any{
		"organization": map[string]any{"from": map[string]any{"perMinute": 600.0, "burst": 50.0}, "to": nil},
		"client":       map[string]any{"from": nil, "to": map[string]any{"perMinute": 60.0, "burst": 5.0}},
	}
	if diff := cmp.Diff(want, records[0].Details); diff != "" {
		t.Error(diff)
	}

	nobody := agentid.New[agentid.Organization]()
	_, err = b.OrganizationLimits(t.Context(), nobody)
	wantProblem(t, "limits of nobody", err, problem.NotFound, "organization_not_found")
	_, err = b.PutOrganizationLimits(t.Context(), operator, nobody, 0, first)
	wantProblem(t, "limits for nobody", err, problem.NotFound, "organization_not_found")
	if err := b.orgs.Delete(t.Context(), operator, org.ID, 0); err != nil {
		t.Errorf("an organization with limits cannot be deleted: %v", err)
	}
}
