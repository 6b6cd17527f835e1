package postgres_test

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// tenants are two organizations with something in every table. Theirs is made first, so that a query that lost its predicate meets their rows first.
type tenants struct {
	*bundle
	theirs, mine *world
}

func newTenants(t *testing.T) *tenants {
	t.Helper()
	b := setup(t)
	tenant := func(slug string) *world {
		w := &world{bundle: b, org: b.newOrganization(t, slug)}
		w.agent = b.newAgent(t, w.org.ID, "payer")
		var err error
		if w.credential, _, err = b.agents.CreateCredential(t.Context(), operator, w.agent.ID, 0); err != nil {
			t.Fatal(err)
		}
		if err := b.Keysets(operator).CreateKeyset(t.Context(), w.org.ID.String(), seal.WrappedKeyset{Bytes: []byte(slug), KEKID: slug}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.PutOrganizationLimits(t.Context(), operator, w.org.ID, 0, orgs.Limits{Client: ratelimit.Limit{PerMinute: 60, Burst: 5}, UpdatedAt: start}); err != nil {
			t.Fatal(err)
		}
		used := w.issuance()
		used.Uses = []issuance.SingleUse{{Purpose: issuance.UseProof, Key: [32]byte{1}, ExpiresAt: start}}
		if err := b.RecordTokenIssued(t.Context(), operator, used); err != nil {
			t.Fatal(err)
		}
		w.party = w.newParty(t, slug)
		w.revokeSomething(t)
		w.registerSomething(t)
		if err := b.ChangeSigningKeys(t.Context(), operator, w.org.ID, firstKey(slug, start)); err != nil {
			t.Fatal(err)
		}
		gone := b.newAgent(t, w.org.ID, "gone")
		if err := b.agents.Delete(t.Context(), operator, gone.ID, 0); err != nil {
			t.Fatal(err)
		}
		return w
	}
	return &tenants{bundle: b, theirs: tenant("theirs"), mine: tenant("mine")}
}

// connection is the pgx side of a query, with a fence taken away and the effect of writes noted.
type connection struct {
	pgx.Tx
	dropPredicates bool
	affected       int64
}

// predicate is how every query names its organization.
var predicate = regexp.MustCompile(`(?:\w+\.)?org_id = (\$\d+)`)

func (c *connection) rewrite(sql string) string {
	if !c.dropPredicates {
		return sql
	}
	return predicate.ReplaceAllString(sql, "${1}::uuid is not null")
}

func (c *connection) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	tag, err := c.Tx.Exec(ctx, c.rewrite(sql), args...)
	c.affected += tag.RowsAffected()
	return tag, err
}

func (c *connection) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return c.Tx.Query(ctx, c.rewrite(sql), args...)
}

func (c *connection) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return c.Tx.QueryRow(ctx, c.rewrite(sql), args...)
}

// probe asks one query, as my organization, for what is theirs. It reports whether it got or changed something of theirs.
type probe func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (leaked bool, err error)

// probes has every query of the app role that reads, changes or deletes. A query of an organization that is not probed fails the test.
var probes = map[string]probe{
	"Organization": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		o, err := q.Organization(ctx, mine.org.ID.UUID())
		return o.OrgID == theirs.org.ID.UUID(), err
	},
	"KeepOrganization": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		n, err := q.KeepOrganization(ctx, mine.org.ID.UUID())
		return n > 1, err
	},
	"LockOrganization": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		n, err := q.LockOrganization(ctx, mine.org.ID.UUID())
		return n > 1, err
	},
	"Agent": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		a, err := q.Agent(ctx, orgdb.AgentParams{OrgID: mine.org.ID.UUID(), ID: theirs.agent.ID.UUID()})
		return a.ID != uuid.Nil, err
	},
	"AgentForUpdate": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		a, err := q.AgentForUpdate(ctx, orgdb.AgentForUpdateParams{OrgID: mine.org.ID.UUID(), ID: theirs.agent.ID.UUID()})
		return a.ID != uuid.Nil, err
	},
	"Agents": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		list, err := q.Agents(ctx, orgdb.AgentsParams{OrgID: mine.org.ID.UUID(), RowLimit: 100})
		return slices.ContainsFunc(list, func(a orgdb.Agent) bool { return a.OrgID == theirs.org.ID.UUID() }), err
	},
	"UpdateAgent": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.UpdateAgent(ctx, orgdb.UpdateAgentParams{OrgID: mine.org.ID.UUID(), ID: theirs.agent.ID.UUID(), Name: "stolen", Status: "active", Capabilities: []string{}, Scopes: []string{}, Audiences: []string{}, Serves: []string{}})
		return c.affected > 0, err
	},
	"DeleteAgent": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.DeleteAgent(ctx, orgdb.DeleteAgentParams{OrgID: mine.org.ID.UUID(), ID: theirs.agent.ID.UUID()})
		return c.affected > 0, err
	},
	"InsertSuccessor": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		c, err := q.InsertSuccessor(ctx, orgdb.InsertSuccessorParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), OldID: theirs.credential.ID.UUID(), Kind: "client_secret", ID: uuid.New(), SecretHash: make([]byte, 32), CreatedAt: start})
		return c.ID != uuid.Nil, err
	},
	"Credentials": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		list, err := q.Credentials(ctx, orgdb.CredentialsParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID()})
		return len(list) > 0, err
	},
	"CountUnexpiredCredentials": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.CountUnexpiredCredentials(ctx, orgdb.CountUnexpiredCredentialsParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), Kind: "client_secret", At: start})
		return n > 0, err
	},
	"CredentialExists": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		return q.CredentialExists(ctx, orgdb.CredentialExistsParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), ID: theirs.credential.ID.UUID()})
	},
	"ExpireCredential": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.ExpireCredential(ctx, orgdb.ExpireCredentialParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), ID: theirs.credential.ID.UUID(), ExpiresAt: start, At: start})
		return n > 0, err
	},
	"DeleteCredential": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.DeleteCredential(ctx, orgdb.DeleteCredentialParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), ID: theirs.credential.ID.UUID()})
		return n > 0, err
	},
	"LockLiveAgent": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.LockLiveAgent(ctx, orgdb.LockLiveAgentParams{OrgID: mine.org.ID.UUID(), ID: theirs.agent.ID.UUID(), IssuedAt: issued.IssuedAt})
		return n > 0, err
	},
	"ForgetUses": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		err := q.ForgetUses(ctx, orgdb.ForgetUsesParams{OrgID: mine.org.ID.UUID(), At: start.Add(time.Hour)})
		return c.affected > 1, err // more than mine
	},
	"RecordTokenIssued": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.RecordTokenIssued(ctx, orgdb.RecordTokenIssuedParams{OrgID: mine.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), CredentialID: theirs.credential.ID.UUID(), Event: uuid.New(), Ts: start, IssuedAt: issued.IssuedAt, Body: []byte{}})
		return n > 0, err
	},
	"AuditRecords": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		rows, err := q.AuditRecords(ctx, orgdb.AuditRecordsParams{OrgID: mine.org.ID.UUID(), RowLimit: 100})
		return slices.ContainsFunc(rows, func(r orgdb.AuditRecordsRow) bool { return strings.Contains(string(r.Body), theirs.org.ID.String()) }), err
	},
	"SigningIssuer": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		i, err := q.SigningIssuer(ctx, mine.org.ID.UUID())
		return i.Revision == theirs.signingRevision(ctx), err
	},
	"SigningKeys": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		list, err := q.SigningKeys(ctx, orgdb.SigningKeysParams{OrgID: mine.org.ID.UUID(), RevokedSince: start})
		return slices.ContainsFunc(list, func(k orgdb.SigningKeysRow) bool { return k.ID == "theirs" }), err
	},
	"UpdateSigningIssuer": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		n, err := q.UpdateSigningIssuer(ctx, orgdb.UpdateSigningIssuerParams{OrgID: mine.org.ID.UUID(), Seen: theirs.signingRevision(ctx), Revision: 99, DueAt: start})
		return n > 0, err
	},
	"PostponeSigningIssuer": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.PostponeSigningIssuer(ctx, orgdb.PostponeSigningIssuerParams{OrgID: mine.org.ID.UUID(), Seen: theirs.signingRevision(ctx), DueAt: start})
		return c.affected > 0, err
	},
	"MoveSigningKey": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		n, err := q.MoveSigningKey(ctx, orgdb.MoveSigningKeyParams{OrgID: mine.org.ID.UUID(), ID: "theirs", FromState: "active", ToState: "retiring"})
		return n > 0, err
	},
	"ReplaceKeyset": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		n, err := q.ReplaceKeyset(ctx, orgdb.ReplaceKeysetParams{OrgID: mine.org.ID.UUID(), Old: []byte("theirs"), Wrapped: []byte("stolen"), KekID: "x"})
		return n > 0, err
	},
	"Keyset": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, _ *world) (bool, error) {
		k, err := q.Keyset(ctx, mine.org.ID.UUID())
		return string(k.Wrapped) == "theirs", err
	},
}

// inserts write a row that says it is theirs: only row-level security can stop them.
var inserts = map[string]func(ctx context.Context, q *orgdb.Queries, theirs *world) error{
	"InsertAgent": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertAgent(ctx, orgdb.InsertAgentParams{OrgID: theirs.org.ID.UUID(), ID: uuid.New(), Name: "planted", Status: "active", Capabilities: []string{}, Scopes: []string{}, Audiences: []string{}, Serves: []string{}})
	},
	"InsertCredential": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		_, err := q.InsertCredential(ctx, orgdb.InsertCredentialParams{OrgID: theirs.org.ID.UUID(), AgentID: theirs.agent.ID.UUID(), ID: uuid.New(), Kind: "client_secret", SecretHash: make([]byte, 32), CreatedAt: start})
		return err
	},
	"InsertSigningIssuer": func(ctx context.Context, q *orgdb.Queries, _ *world) error {
		return q.InsertSigningIssuer(ctx, orgdb.InsertSigningIssuerParams{OrgID: uuid.New(), Revision: 99, DueAt: start})
	},
	"InsertSigningKey": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertSigningKey(ctx, orgdb.InsertSigningKeyParams{OrgID: theirs.org.ID.UUID(), ID: "planted", Use: "access_token", State: "pending", PublicJwk: []byte("{}"), Sealed: []byte("x"), CreatedAt: start})
	},
	"InsertKeyset": func(ctx context.Context, q *orgdb.Queries, _ *world) error {
		return q.InsertKeyset(ctx, orgdb.InsertKeysetParams{OrgID: uuid.New(), Wrapped: []byte("planted"), CreatedAt: start})
	},
	"UseOnce": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		_, err := q.UseOnce(ctx, orgdb.UseOnceParams{OrgID: theirs.org.ID.UUID(), Purpose: "dpop", Key: make([]byte, 32), ExpiresAt: start})
		return err
	},
	"InsertAuditRecord": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		return q.InsertAuditRecord(ctx, orgdb.InsertAuditRecordParams{OrgID: theirs.org.ID.UUID(), Event: uuid.New(), Ts: start, Body: []byte("planted")})
	},
}

// ofNobody are the queries of the app role that touch nothing of any organization.
var ofNobody = []string{"NextSigningRevision"}

func (w *world) signingRevision(ctx context.Context) int64 {
	set, err := w.SigningKeys(ctx, w.org.ID)
	if err != nil || set.Revision == 0 {
		return -1
	}
	return set.Revision
}

func TestEveryQueryOfAnOrganizationIsProbed(t *testing.T) {
	t.Parallel()
	var exist, probed []string
	for m := range reflect.TypeFor[*orgdb.Queries]().Methods() {
		if m.Name != "WithTx" {
			exist = append(exist, m.Name)
		}
	}
	for name := range allProbes() {
		probed = append(probed, name)
	}
	for name := range allInserts() {
		probed = append(probed, name)
	}
	probed = append(probed, ofNobody...)
	slices.Sort(probed)
	if diff := cmp.Diff(exist, probed); diff != "" {
		t.Errorf("queries of the app role (-) and those probed (+):\n%s", diff)
	}
}

// Two fences keep organizations apart. Each holds alone; with both down everything leaks, which shows that the probes look in the right place.
func TestEachFenceHoldsAlone(t *testing.T) {
	t.Parallel()
	for name, fences := range map[string]struct{ predicates, rls, leaks bool }{
		"both up":                 {true, true, false},
		"row-level security down": {true, false, false},
		"predicates down":         {false, true, false},
		"both down":               {false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTenants(t)
			if !fences.rls {
				disableRLS(t, w.db.Superuser(t))
			}
			app := w.db.Connect(t, w.db.AppDSN)
			for query, p := range allProbes() {
				leaked, err := inMyTransaction(t, app, w.mine, !fences.predicates, func(c *connection) (bool, error) {
					return p(t.Context(), c, orgdb.New(c), w.mine, w.theirs)
				})
				if leaked != fences.leaks {
					t.Errorf("%s: leaked %v (%v), want %v", query, leaked, err, fences.leaks)
				}
			}
			for query, insert := range allInserts() {
				_, err := inMyTransaction(t, app, w.mine, false, func(c *connection) (bool, error) { return false, insert(t.Context(), orgdb.New(c), w.theirs) })
				if refused := err != nil && strings.Contains(err.Error(), "row-level security"); refused != fences.rls || (err != nil) != refused {
					t.Errorf("%s: %v, want refused %v", query, err, fences.rls)
				}
			}
		})
	}
}

func disableRLS(t *testing.T, super *pgx.Conn) {
	t.Helper()
	for _, table := range query[string](t, super, "select relname::text from pg_class where relrowsecurity") {
		exec(t, super, "alter table "+table+" disable row level security")
	}
}

// inMyTransaction runs fn as my organization would, and rolls back.
func inMyTransaction(t *testing.T, app *pgx.Conn, mine *world, dropPredicates bool, fn func(*connection) (bool, error)) (bool, error) {
	t.Helper()
	tx, err := app.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // what matters was seen
	if _, err := tx.Exec(t.Context(), "select set_config('app.org_id', $1, true)", mine.org.ID.UUID().String()); err != nil {
		t.Fatal(err)
	}
	return fn(&connection{Tx: tx, dropPredicates: dropPredicates})
}

// The app role, whatever SQL it runs: its own organization, and nothing at all without one.
func TestAppRoleSeesItsOrganizationOnly(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	super, app := w.db.Superuser(t), w.db.Connect(t, w.db.AppDSN)
	tables := query[string](t, super, `select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'org_id'
		where c.relnamespace = 'agentidp'::regnamespace and c.relkind = 'r' and has_table_privilege('agentidp_app', c.oid, 'select') order by 1`)
	if len(tables) < 5 {
		t.Fatalf("only %v", tables)
	}
	for _, table := range tables {
		all := query[int64](t, super, fmt.Sprintf("select count(distinct org_id) from %s where org_id in ($1, $2)", table), w.mine.org.ID.UUID(), w.theirs.org.ID.UUID())[0]
		if all != 2 {
			t.Errorf("%s has rows of %d organizations: this test proves nothing about it", table, all)
		}
		seen := func() []string {
			return query[string](t, app, fmt.Sprintf("select distinct org_id::text from %s", table))
		}
		if got := seen(); len(got) != 0 {
			t.Errorf("%s: without an organization the app role sees %v", table, got)
		}
		for _, setting := range []string{w.mine.org.ID.UUID().String(), ""} {
			exec(t, app, "begin")
			exec(t, app, "select set_config('app.org_id', $1, true)", setting)
			got := seen()
			exec(t, app, "rollback")
			var want []string
			if setting != "" {
				want = []string{setting}
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(slices.Equal[[]string])); diff != "" {
				t.Errorf("%s, app.org_id %q:\n%s", table, setting, diff)
			}
		}
	}
	exec(t, app, "begin")
	exec(t, app, "select set_config('app.org_id', $1, true)", w.mine.org.ID.UUID().String())
	if _, err := app.Exec(t.Context(), "update organizations set version = version"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("the app role changes an organization, which it may only lock: %v", err)
	}
	exec(t, app, "rollback")
	for _, forbidden := range []string{"delete from signing_keys", "delete from signing_issuers", "select * from revoked_signing_keys", "update signing_keys set public_jwk = '{}'", "update signing_schedule set leader = 'me'", "select * from deleted_agents", "select * from deleted_credentials", "insert into organizations default values", "delete from organizations", "set role agentidp_owner", "set role agentidp_platform"} {
		if _, err := app.Exec(t.Context(), forbidden); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("the app role: %s: %v, want insufficient privilege", forbidden, err)
		}
	}
}

// The platform role looks across organizations, but not into their logs and keys, and changes nothing inside them.
func TestPlatformRoleMayDoLittle(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	platform := w.db.Connect(t, w.db.PlatformDSN)
	if n := query[int64](t, platform, "select count(*) from agents")[0]; n != 4 {
		t.Errorf("it sees %d agents, want both organizations'", n)
	}
	for _, table := range []string{"audit_logs", "keysets", "signing_keys", "single_uses", "pushed_requests"} {
		if n := query[int64](t, platform, "select count(*) from "+table+" where org_id <> '00000000-0000-0000-0000-000000000000'")[0]; n != 0 {
			t.Errorf("it sees %d rows of organizations in %s", n, table)
		}
	}
	for _, forbidden := range []string{
		"update agents set name = 'x'", "delete from agents", "update credentials set expires_at = null", "delete from credentials", "select last_used_at from credentials",
		"delete from signing_keys", "update signing_keys set public_jwk = '{}'", "set role agentidp_app", "select agent_id from sign_ins", "update sign_ins set revoked_at = null", "delete from sign_ins",
	} {
		if _, err := platform.Exec(t.Context(), forbidden); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("the platform role: %s: %v, want insufficient privilege", forbidden, err)
		}
	}
	for _, change := range []string{"update signing_keys set state = 'retiring'", "update signing_issuers set due_at = now()"} {
		if tag, err := platform.Exec(t.Context(), change); err != nil || tag.RowsAffected() != 0 {
			t.Errorf("%s: %d rows of organizations, %v", change, tag.RowsAffected(), err)
		}
	}
	if _, err := platform.Exec(t.Context(), "insert into keysets (org_id, wrapped, kek_id, created_at) values ($1, 'x', 'x', now())", uuid.New()); err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("a keyset for an organization: %v", err)
	}
}

// A child that points at another organization's parent is refused by the composite key, also with row-level security out of the way.
func TestChildrenStayWithTheirParents(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	_, err := w.db.Superuser(t).Exec(t.Context(), "update credentials set agent_id = $1 where org_id = $2", w.theirs.agent.ID.UUID(), w.mine.org.ID.UUID())
	if err == nil || !strings.Contains(err.Error(), "credentials_agent_fkey") {
		t.Errorf("%v, want a violation of credentials_agent_fkey", err)
	}
}

// The services say the same of another organization's things as of nothing.
func TestForeignIsNotFound(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	a := w.mine.agent
	a.OrganizationID = w.theirs.org.ID // a caller that mixes two organizations up
	if err := w.RecordTokenIssued(t.Context(), operator, issuanceOf(a, w.mine.credential.ID)); err == nil {
		t.Error("a token was recorded in another organization's log")
	}
	records, err := w.AuditRecords(t.Context(), w.mine.org.ID, audit.Filter{Target: w.theirs.agent.ID.String()}, agentid.Event{}, 10)
	if err != nil || len(records) != 0 {
		t.Errorf("their agent in my log: %v, %v", records, err)
	}
}
