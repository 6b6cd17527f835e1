package postgres_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// generated finds the statements in what sqlc wrote.
var generated = regexp.MustCompile("(?s)const \\w+ = `-- name: (\\w+) :\\w+\n(.*?)`")

func statements(t *testing.T, pkg string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("gen", pkg, "*.sql.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	all := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range generated.FindAllStringSubmatch(string(source), -1) {
			all[m[1]] = m[2]
		}
	}
	return all
}

// node is a step of a plan as EXPLAIN prints it.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Plans    []node
}

func (n node) walk(visit func(node)) {
	visit(n)
	for _, child := range n.Plans {
		child.walk(visit)
	}
}

// plan is what the server would do as this role, without knowing the arguments.
func plan(t *testing.T, conn *pgx.Conn, name, sql string) node {
	t.Helper()
	exec(t, conn, "prepare "+name+" as "+sql)
	types := query[string](t, conn, "select unnest(parameter_types)::text from pg_prepared_statements where name = $1", strings.ToLower(name))
	execute := "execute " + name
	if len(types) > 0 {
		execute += "(" + strings.TrimSuffix(strings.Repeat("null,", len(types)), ",") + ")"
	}
	out := query[[]byte](t, conn, "explain (format json, costs off) "+execute)[0]
	var plans []struct{ Plan node }
	if err := json.Unmarshal(out, &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%s: %v", out, err)
	}
	return plans[0].Plan
}

// small are the tables with a handful of rows whatever happens; reading all of them is right.
var small = []string{"signing_schedule", "revocation_sequence"}

// Every statement is prepared as the role that runs it. None reads a whole table of organizations, and those of the app role find their rows by org_id.
func TestStatementsUseTheirIndex(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for pkg, dsn := range map[string]string{"orgdb": db.AppDSN, "platformdb": db.PlatformDSN} {
		conn := db.Connect(t, dsn)
		exec(t, conn, "set plan_cache_mode = force_generic_plan")
		exec(t, conn, "set enable_seqscan = off") // the tables are empty here; a sequential scan that is left has no index to use
		for name, sql := range statements(t, pkg) {
			plan(t, conn, name, sql).walk(func(n node) {
				where := fmt.Sprintf("%s.%s: %s of %s", pkg, name, n.Type, n.Relation)
				if n.Type == "Seq Scan" && !slices.Contains(small, n.Relation) {
					t.Errorf("%s: no index", where)
				}
				unique := (n.Index == "agents_id_key" || n.Index == "clients_id_key") && strings.HasPrefix(n.Cond, "(id = ") // one row at most, whose organization is then compared
				if pkg == "orgdb" && n.Index != "" && !unique && !strings.Contains(n.Cond, "org_id = ") {
					t.Errorf("%s by %s (%s): the organization does not narrow it", where, n.Index, n.Cond)
				}
			})
		}
	}
}

// The look-ups across organizations that happen for each token and each poll.
func TestHotLookupsUseTheIndexMadeForThem(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Connect(t, db.PlatformDSN)
	exec(t, conn, "set plan_cache_mode = force_generic_plan")
	exec(t, conn, "set enable_seqscan = off")
	all := statements(t, "platformdb")
	for name, index := range map[string]string{
		"ClientForAuthentication": "agents_id_key", "OrganizationOfAgent": "agents_id_key", "RelyingPartyForAuthentication": "clients_id_key", "RevocationList": "agents_revocation_idx", "Organizations": "organizations_pkey",
	} {
		var used []string
		plan(t, conn, name, all[name]).walk(func(n node) { used = append(used, n.Index) })
		if !slices.Contains(used, index) {
			t.Errorf("%s uses %v, want %s", name, used, index)
		}
	}
}
