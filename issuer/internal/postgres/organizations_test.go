package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// compareIDs lets cmp look at ids, which have unexported fields.
var compareIDs = cmp.Options{
	cmp.Comparer(func(a, b agentid.Organization) bool { return a == b }),
	cmp.Comparer(func(a, b agentid.Agent) bool { return a == b }),
	cmp.Comparer(func(a, b agentid.Credential) bool { return a == b }),
	cmp.Comparer(func(a, b agentid.Event) bool { return a == b }),
}

// wantProblem fails unless err is of the kind and has the code.
func wantProblem(t *testing.T, what string, err error, kind problem.Kind, code string) {
	t.Helper()
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Kind != kind || p.Code != code {
		t.Errorf("%s: %v, want %s (kind %d)", what, err, code, kind)
	}
}

func TestOrganizationLifeCycle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	made := b.newOrganization(t, "acme")
	got, err := b.Organization(ctx, made.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, got, compareIDs); diff != "" {
		t.Errorf("created (-), read (+):\n%s", diff)
	}

	b.clock.Advance(time.Minute)
	name := "Acme renamed"
	updated, err := b.orgs.Update(ctx, operator, made.ID, 1, orgs.Update{DisplayName: &name})
	if err != nil {
		t.Fatal(err)
	}
	want := made
	want.DisplayName, want.Version, want.UpdatedAt = name, 2, made.UpdatedAt.Add(time.Minute)
	if diff := cmp.Diff(want, updated, compareIDs); diff != "" {
		t.Errorf("updated:\n%s", diff)
	}
	got, err = b.Organization(ctx, made.ID)
	if diff := cmp.Diff(want, got, compareIDs); diff != "" || err != nil {
		t.Errorf("read back: %v\n%s", err, diff)
	}

	_, err = b.orgs.Update(ctx, operator, made.ID, 1, orgs.Update{DisplayName: &name})
	wantProblem(t, "update of an old version", err, problem.PreconditionFailed, "version_differs")
	wantProblem(t, "delete of an old version", b.orgs.Delete(ctx, operator, made.ID, 1), problem.PreconditionFailed, "version_differs")
	if err := b.orgs.Delete(ctx, operator, made.ID, 2); err != nil {
		t.Fatal(err)
	}
	_, err = b.Organization(ctx, made.ID)
	wantProblem(t, "read after delete", err, problem.NotFound, "organization_not_found")
}

func TestOrganizationThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	for name, id := range map[string]agentid.Organization{"unknown": agentid.New[agentid.Organization](), "zero": {}} {
		_, err := b.Organization(ctx, id)
		wantProblem(t, name+": read", err, problem.NotFound, "organization_not_found")
		_, err = b.orgs.Update(ctx, operator, id, 0, orgs.Update{})
		wantProblem(t, name+": update", err, problem.NotFound, "organization_not_found")
		wantProblem(t, name+": delete", b.orgs.Delete(ctx, operator, id, 0), problem.NotFound, "organization_not_found")
	}
}

func TestOrganizationConflicts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	made := b.newOrganization(t, "acme")
	_, err := b.orgs.Create(ctx, operator, orgs.Create{Slug: "acme", DisplayName: "Other"})
	wantProblem(t, "slug taken", err, problem.Conflict, "slug_taken")

	a := b.newAgent(t, made.ID, "payer")
	wantProblem(t, "delete with an agent", b.orgs.Delete(ctx, operator, made.ID, 0), problem.Conflict, "organization_has_agents")
	if err := b.agents.Delete(ctx, operator, a.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.orgs.Delete(ctx, operator, made.ID, 0); err != nil {
		t.Errorf("delete without agents: %v", err)
	}
	_, err = b.orgs.Create(ctx, operator, orgs.Create{Slug: "acme", DisplayName: "Successor"})
	wantProblem(t, "the slug of one that was deleted", err, problem.Conflict, "slug_taken")
}

// Slugs that were given are the platform's to write and nobody's to read or take back; the owner of an instance sees them, and a change by hand takes the new one, too.
func TestSlugsAreGivenOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.newOrganization(t, "first"), b.newOrganization(t, "second")
	if err := b.orgs.Delete(t.Context(), operator, first.ID, 0); err != nil {
		t.Fatal(err)
	}
	super := b.db.Superuser(t)
	exec(t, super, "update organizations set slug = 'third' where org_id = $1", second.ID.UUID())
	if got := query[string](t, super, "select slug from organization_slugs order by 1"); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("%v", got)
	}
	for _, slug := range []string{"first", "second", "third"} {
		_, err := b.orgs.Create(t.Context(), operator, orgs.Create{Slug: slug, DisplayName: "Another"})
		wantProblem(t, slug, err, problem.Conflict, "slug_taken")
	}
	for who, dsn := range map[string]string{"the app role": b.db.AppDSN, "the platform role": b.db.PlatformDSN} {
		conn := b.db.Connect(t, dsn)
		for _, forbidden := range []string{"select * from organization_slugs", "update organization_slugs set slug = 'x'", "delete from organization_slugs"} {
			if _, err := conn.Exec(t.Context(), forbidden); err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %s: %v, want insufficient privilege", who, forbidden, err)
			}
		}
	}
	if _, err := b.db.Connect(t, b.db.AppDSN).Exec(t.Context(), "insert into organization_slugs (slug, given_to) values ('x', gen_random_uuid())"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("the app role gives a slug: %v", err)
	}
	records, err := b.AuditRecords(t.Context(), first.ID, audit.Filter{Action: audit.OrganizationDelete}, agentid.Event{}, 10)
	if err != nil || len(records) != 1 || records[0].Details["slug"] != "first" {
		t.Errorf("what the log says of the slug: %v, %v", records, err)
	}
}

// An instance that deleted organizations before it remembered slugs finds them in its log.
func TestSlugsOfDeletedOrganizationsAreFound(t *testing.T) {
	t.Parallel()
	pgtest.New(t) // the roles exist
	db := pgtest.NewEmpty(t)
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, 18); err != nil {
		t.Fatal(err)
	}
	super := db.Superuser(t)
	exec(t, super, "insert into organizations (org_id, slug, display_name, created_at, updated_at, version) values (gen_random_uuid(), 'alive', 'x', now(), now(), 1)")
	for _, slug := range []string{"deleted", "alive"} { // one was given again already
		gone := agentid.New[agentid.Organization]()
		body, err := audit.Encode(audit.Record{
			ID: agentid.New[agentid.Event](), OrganizationID: gone, Time: start, Actor: operator, Action: audit.OrganizationDelete, Target: gone.String(), Details: map[string]any{"slug": slug},
		})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, super, "insert into audit_logs (org_id, event, ts, actor, action, target, enc_version, body) values ($1, gen_random_uuid(), now(), 'x', 'organization.delete', 'x', 1, $2)", gone.UUID(), body)
	}
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
		t.Fatal(err)
	}
	if got := query[string](t, super, "select slug from organization_slugs order by 1"); !slices.Equal(got, []string{"alive", "deleted"}) {
		t.Errorf("%v", got)
	}
}

func TestUpdateCannotChangeWhatNeverChanges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := b.newOrganization(t, "acme")
	got, err := b.UpdateOrganization(t.Context(), operator, made.ID, 0, func(o *orgs.Organization) error {
		*o = orgs.Organization{ID: agentid.New[agentid.Organization](), Slug: "stolen", DisplayName: "x", UpdatedAt: start, Version: 99}
		return nil
	})
	if err != nil || got.ID != made.ID || got.Slug != "acme" || got.Version != 2 || !got.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("%+v, %v", got, err)
	}
	refusal := errors.New("no")
	if _, err := b.UpdateOrganization(t.Context(), operator, made.ID, 0, func(*orgs.Organization) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("the change's error became %v", err)
	}
}

func TestOrganizationPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []agentid.Organization
	for i := range 5 {
		want = append(want, b.newOrganization(t, fmt.Sprintf("org-%d", i)).ID)
	}
	var got []agentid.Organization
	var after agentid.Organization
	for {
		page, err := b.Organizations(t.Context(), after, 2)
		if err != nil || len(page) > 2 {
			t.Fatalf("%d organizations, %v", len(page), err)
		}
		for _, o := range page {
			got = append(got, o.ID)
		}
		if len(page) < 2 {
			break
		}
		after = page[len(page)-1].ID
	}
	if diff := cmp.Diff(want, got, compareIDs); diff != "" {
		t.Error(diff)
	}
}
