package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// instanceWide are the indexes of tables with org_id that do not begin with it, each with its reason. Any other is a mistake.
var instanceWide = map[string]string{
	"organizations_slug_key":             "a slug is unique in the instance; only the platform role inserts, so it tells no organization about another",
	"agents_id_key":                      "an agent id is a client_id and comes without its organization; ids are made by us, so a collision tells nothing",
	"clients_id_key":                     "a relying party's id is a client_id too",
	"sign_ins_document_key":              "a client of no organization names a sign-in without its organization; ids are made by us",
	"deleted_agents_deleted_at_idx":      "the revocation list is of the whole instance",
	"deleted_credentials_deleted_at_idx": "the revocation list is of the whole instance",
	"revoked_tokens_expires_at_idx":      "the revocation list is of the whole instance",

	"token_watermarks_tokens_not_before_idx": "the revocation list is of the whole instance",
	"revoked_signing_keys_revoked_at_idx":    "the revocation list is of the whole instance",
	"signing_issuers_revision_idx":           "processes ask which issuers' keys have changed",
}

// tenantPolicy is what a policy of the app role must say, as PostgreSQL prints it.
const tenantPolicy = "(org_id = (NULLIF(current_setting('app.org_id'::text, true), ''::text))::uuid)"

// TestCatalog asks the migrated database itself whether the rules at the head of the migrations are kept, also by tables of later migrations.
func TestCatalog(t *testing.T) {
	t.Parallel()
	super := pgtest.New(t).Superuser(t)
	none := func(what, sql string, args ...any) {
		t.Helper()
		for _, offender := range query[string](t, super, sql, args...) {
			t.Errorf("%s: %s", what, offender)
		}
	}
	if n := query[int64](t, super, "select count(*) from pg_class where relnamespace = 'agentidp'::regnamespace and relkind = 'r'")[0]; n < 8 {
		t.Fatalf("only %d tables: this test looks in the wrong place", n)
	}

	none("row-level security is not forced", tables+` select relname from tenant where not (relrowsecurity and relforcerowsecurity)`)
	none("org_id may be null", tables+` select relname from tenant where not not_null`)
	none("the primary key does not begin with org_id", tables+` select relname from tenant t
		where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary and i.indkey[0] = t.org_id)`)
	none("a foreign key between tables of organizations leaves org_id out", tables+` select conname::text from pg_constraint k
		join tenant c on c.oid = k.conrelid join tenant p on p.oid = k.confrelid
		where k.contype = 'f' and not (k.conkey[1] = c.org_id and k.confkey[1] = p.org_id)`)
	none("no policy for the app role, or another than its own organization", tables+` select relname || ' ' || coalesce(polname::text, '') from tenant t
		left join pg_policy p on p.polrelid = t.oid and 'agentidp_app'::regrole = any (p.polroles)
		where p.oid is null or coalesce(pg_get_expr(polqual, polrelid), $1) <> $1 or coalesce(pg_get_expr(polwithcheck, polrelid), $1) not in ($1, 'false')`, tenantPolicy)
	none("a policy for everyone", `select polname::text from pg_policy where polroles = '{0}'`)
	none("a view that runs with its owner's rights", `select relname::text from pg_class where relnamespace = 'agentidp'::regnamespace
		and relkind in ('v', 'm') and not coalesce('security_invoker=true' = any (reloptions), false)`)
	none("a function that runs with its owner's rights", `select proname::text from pg_proc where pronamespace = 'agentidp'::regnamespace and prosecdef`)
	none("something granted to everyone", `select relname::text from pg_class, aclexplode(relacl) a where relnamespace = 'agentidp'::regnamespace and a.grantee = 0`)
	none("not the owner's", `select relname::text from pg_class where relnamespace = 'agentidp'::regnamespace and relowner <> 'agentidp_owner'::regrole`)
	none("a privilege to change the audit log", `select r.rolname || ' ' || p from pg_roles r, unnest(array['update', 'delete', 'truncate']) p
		where r.rolname in ('agentidp_app', 'agentidp_platform', 'agentidp_auditor') and has_table_privilege(r.oid, 'agentidp.audit_logs', p)`)
	none("a role with too much", `select rolname::text from pg_roles where rolname like 'agentidp%' and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication
		or rolcanlogin and rolname in ('agentidp_owner', 'agentidp_auditor'))`)

	var others []string
	for name := range instanceWide {
		others = append(others, name)
	}
	slices.Sort(others)
	got := query[string](t, super, tables+` select c.relname::text from pg_index i join tenant t on t.oid = i.indrelid join pg_class c on c.oid = i.indexrelid
		where i.indkey[0] <> t.org_id order by 1`)
	if diff := cmp.Diff(others, got); diff != "" {
		t.Errorf("indexes that do not begin with org_id, allowed (-) and found (+):\n%s", diff)
	}
}

// tables names the tables of organizations, and where their org_id is.
const tables = `with tenant as (
	select c.oid, c.relname::text, c.relrowsecurity, c.relforcerowsecurity, a.attnum as org_id, a.attnotnull as not_null
	from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id'
	where c.relnamespace = 'agentidp'::regnamespace and c.relkind in ('r', 'p')
)`

// The checks above find what they look for.
func TestCatalogCheckIsAwake(t *testing.T) {
	t.Parallel()
	super := pgtest.New(t).Superuser(t)
	exec(t, super, "create table agentidp.bad (id uuid primary key, org_id uuid, agent_id uuid references agents (id))")
	for what, sql := range map[string]string{
		"forced": tables + ` select relname from tenant where not (relrowsecurity and relforcerowsecurity)`,
		"null":   tables + ` select relname from tenant where not not_null`,
		"key":    tables + ` select relname from tenant t where not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary and i.indkey[0] = t.org_id)`,
		"fkey":   tables + ` select relname from tenant c join pg_constraint k on k.conrelid = c.oid where contype = 'f' and not k.conkey[1] = c.org_id`,
	} {
		if got := query[string](t, super, sql); !slices.Contains(got, "bad") {
			t.Errorf("%s: found %v", what, got)
		}
	}
}

// The auditor reads the log of every organization and nothing else of them.
func TestAuditorReadsTheLogOnly(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	auditor := w.db.Connect(t, w.db.As(t, role(t, w.db, "in role agentidp_auditor")))
	if n := query[int64](t, auditor, "select count(distinct org_id) from audit_logs")[0]; n < 2 {
		t.Errorf("the auditor sees %d organizations", n)
	}
	for _, forbidden := range []string{"select * from agents", "select * from credentials", "select * from keysets", "insert into audit_logs (body) values ('')"} {
		if _, err := auditor.Exec(t.Context(), forbidden); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("the auditor: %s: %v, want insufficient privilege", forbidden, err)
		}
	}
}
