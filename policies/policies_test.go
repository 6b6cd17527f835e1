package policies

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/internal/policy"
)

// patient is the deadline of evaluations whose timing is not the subject: a busy machine must not fail them.
const patient = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRego is "opa test policies/" with a coverage threshold of 100 %.
func TestRego(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	modules, store, err := tester.Load([]string{"."}, nil)
	if err != nil {
		t.Fatal(err)
	}
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{Write: true}) // the runner writes policies
	if err != nil {
		t.Fatal(err)
	}
	defer store.Abort(ctx, txn)
	coverage := cover.New()
	runner := tester.NewRunner().SetCompiler(ast.NewCompiler()).SetStore(store).
		SetCoverageQueryTracer(coverage).RaiseBuiltinErrors(false).SetModules(modules)
	results, err := runner.RunTests(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for r := range results {
		if !r.Pass() {
			t.Errorf("%s", r)
		}
		passed++
	}
	if passed < 30 {
		t.Errorf("only %d Rego tests were found", passed)
	}
	report := coverage.Report(modules)
	for file, f := range report.Files {
		for _, r := range f.NotCovered {
			t.Errorf("%s:%d: no test gets here", file, r.Start.Row)
		}
	}
	if report.Coverage != 100 && !t.Failed() {
		t.Errorf("coverage is %v %%", report.Coverage)
	}
}

// steps counts what an evaluation does, so that its cost can be compared without a clock.
type steps int

func (*steps) Enabled() bool               { return true }
func (n *steps) TraceEvent(topdown.Event)  { *n++ }
func (*steps) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TestLongPathsCostNoMore: strangers choose how many segments a path has, and a public route's policy is asked before any token.
func TestLongPathsCostNoMore(t *testing.T) {
	t.Parallel()
	decide := []func(*rego.Rego){rego.Query("data.agentidp.authz.decision")}
	for _, source := range meshSources("") {
		if source.Name != "data.yaml" {
			decide = append(decide, rego.Module(source.Name, string(source.Data)))
		}
	}
	data := map[string]any{"mesh": map[string]any{"services": map[string]any{"orders": map[string]any{
		"organizations": []any{"org_a"},
		"routes":        map[string]any{"healthz": map[string]any{"/": map[string]any{"GET": map[string]any{"public": true}}}},
	}}}}
	evaluate := func(segments int) int {
		var taken steps
		input := request("GET", "/healthz"+strings.Repeat("/a", segments-1), policy.Object())
		options := append(slices.Clip(decide), rego.Store(inmem.NewFromObject(data)), rego.ParsedInput(input), rego.QueryTracer(&taken))
		got, err := rego.New(options...).Eval(context.Background())
		if err != nil || len(got) != 1 {
			t.Fatalf("%d segments: %v, %v", segments, got, err)
		}
		return int(taken)
	}
	if evaluate(1) == evaluate(2) {
		t.Error("nothing is counted")
	}
	if short, long := evaluate(13), evaluate(4000); long > short {
		t.Errorf("%d steps for 4,000 segments, %d for 13", long, short)
	}
}

// TestFormat fails for a file that "opa fmt -w policies" would change.
func TestFormat(t *testing.T) {
	t.Parallel()
	files := 0
	walk(t, func(name string, content []byte) {
		files++
		formatted, err := format.Source(name, content)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(formatted, content) {
			t.Errorf("%s: not formatted; run opa fmt -w policies", name)
		}
	})
	if files < 10 {
		t.Errorf("only %d files were found", files)
	}
}

// TestCompile compiles every policy as extauthz does, and Rego that belongs to none is a mistake.
func TestCompile(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, tt := range []struct {
		dirs  []string
		paths []string
	}{
		{[]string{"mesh"}, []string{"agentidp/authz/allow", "agentidp/authz/decision", "agentidp/authz/data_problems"}},
		{[]string{"mesh", "examples/custom-rule"}, []string{"acme/authz/decision"}},
		{[]string{"examples/opa-envoy/boolean"}, []string{"envoy/authz/allow"}},
		{[]string{"examples/opa-envoy/object"}, []string{"envoy/shop/decision"}},
	} {
		var sources []policy.Source
		for _, dir := range tt.dirs {
			files, err := policy.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				used[dir+"/"+f.Name] = true
				f.Name = strings.ReplaceAll(dir, "/", "-") + "-" + f.Name
				if !strings.HasSuffix(f.Name, ".rego") {
					f.Name = "data.yaml"
				}
				sources = append(sources, f)
			}
		}
		for _, path := range tt.paths {
			p, err := policy.Compile(context.Background(), sources, policy.Config{Path: path, EvalTimeout: patient})
			if err != nil {
				t.Errorf("%v: %v", tt.dirs, err)
				continue
			}
			if calls := p.Nondeterministic(); len(calls) > 0 {
				t.Errorf("%s: decisions could not be cached: %v", path, calls)
			}
			p.Close()
		}
	}
	walk(t, func(name string, _ []byte) {
		if !strings.HasSuffix(name, "_test.rego") && !used[name] {
			t.Errorf("%s is not part of any policy that is compiled here", name)
		}
	})
}

// walk calls visit for every Rego file.
func walk(t *testing.T, visit func(name string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(name, ".rego") {
			return err
		}
		content, err := os.ReadFile(name)
		if err == nil {
			visit(name, content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEmbedded: what the program carries is what the directory has, without the tests.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	fromDisk, err := policy.ReadDir("mesh")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fromDisk {
		if embedded, err := fs.ReadFile(Mesh(), f.Name); err != nil || !bytes.Equal(embedded, f.Data) {
			t.Errorf("%s is not embedded: %v", f.Name, err)
		}
	}
	tests, err := fs.Glob(Mesh(), "*_test.rego")
	if err != nil || len(tests) > 0 {
		t.Errorf("embedded tests %v, %v", tests, err)
	}
}

// TestShippedDataAllowsNothing: default deny, and nothing wrong with it.
func TestShippedDataAllowsNothing(t *testing.T) {
	t.Parallel()
	data, err := fs.ReadFile(Mesh(), "data.yaml")
	if err != nil {
		t.Fatal(err)
	}
	allow := compileMesh(t, "agentidp/authz/allow", string(data))
	got, err := allow.Eval(context.Background(), request("GET", "/", identity("org_a", "orders:read")))
	if err != nil || got != false {
		t.Errorf("allow = %v, %v", got, err)
	}
	for _, shipped := range []fs.FS{Mesh(), Demo()} {
		data, err := fs.ReadFile(shipped, "data.yaml")
		if err != nil {
			t.Fatal(err)
		}
		problems, err := compileMesh(t, "agentidp/authz/data_problems", string(data)).Eval(context.Background(), policy.Object())
		if list, ok := problems.([]any); err != nil || !ok || len(list) > 0 {
			t.Errorf("problems = %v, %v", problems, err)
		}
	}
}

// TestReadSet pins what the decision depends on: these paths become the key of the decision cache, and a new one is a
// reason to think about how often that cache can hit.
func TestReadSet(t *testing.T) {
	t.Parallel()
	const want = "input.attributes.contextExtensions.service input.attributes.destination.principal " +
		"input.attributes.request.http.method " +
		"input.identity.issuer input.identity.organizationId input.identity.origin input.identity.scopes " +
		"input.identity.subject input.parsed_host input.parsed_path"
	for _, path := range []string{"agentidp/authz/allow", "agentidp/authz/decision"} {
		if got := compileMesh(t, path, routes(3)).ReadSet().String(); got != want {
			t.Errorf("%s reads\n%s, want\n%s", path, got, want)
		}
	}
}
