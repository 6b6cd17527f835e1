package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

func (b *bundle) audited(t *testing.T, org agentid.Organization, f audit.Filter) []string {
	t.Helper()
	records, err := b.AuditRecords(t.Context(), org, f, agentid.Event{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{}
	for _, r := range records {
		if r.OrganizationID != org {
			t.Errorf("%s of organization %s in the log of %s", r.Action, r.OrganizationID, org)
		}
		texts = append(texts, string(r.Action)+" "+r.Target)
	}
	return texts
}

func TestAuditLogIsNewestFirstAndFiltered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	org := b.newOrganization(t, "acme").ID
	b.clock.Advance(time.Minute)
	a := b.newAgent(t, org, "payer")
	b.clock.Advance(time.Minute)
	if _, err := b.agents.Suspend(ctx, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	b.newAgent(t, b.newOrganization(t, "other").ID, "noise")

	create, suspend, organization := "agent.create "+a.ID.String(), "agent.suspend "+a.ID.String(), "organization.create "+org.String()
	for name, c := range map[string]struct {
		filter audit.Filter
		want   []string
	}{
		"everything":    {audit.Filter{}, []string{suspend, create, organization}},
		"by action":     {audit.Filter{Action: audit.AgentCreate}, []string{create}},
		"by target":     {audit.Filter{Target: a.ID.String()}, []string{suspend, create}},
		"since":         {audit.Filter{Since: start.Add(time.Minute)}, []string{suspend, create}},
		"until":         {audit.Filter{Until: start.Add(time.Minute)}, []string{organization}},
		"between":       {audit.Filter{Since: start.Add(time.Second), Until: start.Add(2 * time.Minute)}, []string{create}},
		"all at once":   {audit.Filter{Action: audit.AgentSuspend, Target: a.ID.String(), Since: start, Until: start.Add(time.Hour)}, []string{suspend}},
		"other target":  {audit.Filter{Target: "' or true --"}, []string{}},
		"like wildcard": {audit.Filter{Target: "%"}, []string{}},
	} {
		if diff := cmp.Diff(c.want, b.audited(t, org, c.filter)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestAuditPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.newOrganization(t, "acme").ID
	for i := range 6 {
		b.newAgent(t, org, fmt.Sprint("agent", i))
	}
	var got []string
	var before agentid.Event
	for {
		page, err := b.AuditRecords(t.Context(), org, audit.Filter{}, before, 3)
		if err != nil || len(page) > 3 {
			t.Fatalf("%d records, %v", len(page), err)
		}
		for _, r := range page {
			got = append(got, string(r.Action)+" "+r.Target)
		}
		if len(page) < 3 {
			break
		}
		before = page[len(page)-1].ID
	}
	if diff := cmp.Diff(b.audited(t, org, audit.Filter{}), got); diff != "" {
		t.Error(diff)
	}
	// A cursor from another organization's log is no way into this one, and tells nothing.
	foreign, err := b.AuditRecords(t.Context(), b.newOrganization(t, "other").ID, audit.Filter{}, agentid.Event{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, cursor := range map[string]agentid.Event{"unknown": agentid.New[agentid.Event](), "foreign": foreign[0].ID} {
		if page, err := b.AuditRecords(t.Context(), org, audit.Filter{}, cursor, 3); err != nil || len(page) != 0 {
			t.Errorf("%s cursor: %d records, %v", name, len(page), err)
		}
	}
}

func TestInstanceHasItsOwnLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.newOrganization(t, "acme")
	if err := b.Keysets(operator).CreateKeyset(t.Context(), "", seal.WrappedKeyset{Bytes: []byte("w"), KEKID: "1"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keyset.create "}, b.audited(t, agentid.Organization{}, audit.Filter{})); diff != "" {
		t.Error(diff)
	}
}

func TestLogOutlivesTheOrganization(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.newOrganization(t, "acme").ID
	if err := b.orgs.Delete(t.Context(), operator, org, 0); err != nil {
		t.Fatal(err)
	}
	want := []string{"organization.delete " + org.String(), "organization.create " + org.String()}
	if diff := cmp.Diff(want, b.audited(t, org, audit.Filter{})); diff != "" {
		t.Error(diff)
	}
}

// Nobody changes a row: grants stop the issuer's roles, a trigger everybody else.
func TestAuditLogIsInsertOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.newOrganization(t, "acme").ID
	super := b.db.Superuser(t)
	before := dump(t, super)
	roles := map[string]string{"superuser": b.db.OwnerDSN, "app": b.db.AppDSN, "platform": b.db.PlatformDSN}
	for role, dsn := range roles {
		conn := b.db.Connect(t, dsn)
		for _, sql := range []string{
			"update audit_logs set body = 'forged'", "delete from audit_logs", "truncate audit_logs",
			"insert into audit_logs (id, org_id, event, ts, actor, action, target, enc_version, body) overriding system value values (1, $1, $1, now(), '', '', '', 1, '')",
			"insert into audit_logs (tx, org_id, event, ts, actor, action, target, enc_version, body) values ('1', $1, $1, now(), '', '', '', 1, '')",
		} {
			var args []any
			if strings.Contains(sql, "$1") {
				if role == "superuser" { // may number rows as it likes; it could rewrite the table file, too
					continue
				}
				args = []any{org.UUID()}
			}
			exec(t, conn, "begin")
			if role == "app" {
				exec(t, conn, "select set_config('app.org_id', $1, true)", org.UUID().String())
			}
			_, err := conn.Exec(context.Background(), sql, args...)
			exec(t, conn, "rollback")
			if err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %s: %v, want insufficient privilege", role, sql, err)
			}
		}
	}
	if diff := cmp.Diff(before, dump(t, super)); diff != "" {
		t.Error(diff)
	}
}
