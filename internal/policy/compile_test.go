package policy

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/agentidp/agentidp/internal/policy/policytest"
)

func compileErr(t *testing.T, path string, sources ...Source) string {
	t.Helper()
	p, err := Compile(context.Background(), sources, Config{Path: path})
	if err == nil {
		p.Close()
		t.Fatal("compiled")
	}
	var problems *CompileError
	if !errors.As(err, &problems) || len(problems.Problems) == 0 {
		t.Fatalf("error %v is no CompileError", err)
	}
	return err.Error()
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	good := Source{"good.rego", []byte("package t\nallow := true")}
	for _, tt := range []struct {
		name    string
		path    string
		sources []Source
		want    []string // one a line
	}{
		{"syntax", "t/allow", []Source{{"mesh/a.rego", []byte("package t\n\nallow if {")}}, []string{"mesh/a.rego:3: unexpected eof token"}},
		{"Rego of version 0", "t/allow", []Source{{"a.rego", []byte("package t\nallow { true }")}}, []string{"a.rego:2: `if` keyword is required before rule body"}},
		{"several, sorted", "t/allow", []Source{
			{"b.rego", []byte("package t\nallow := x")},
			{"a.rego", []byte("package t\nb := y\n\nc := z")},
		}, []string{"a.rego:2: var y is unsafe", "a.rego:4: var z is unsafe", "b.rego:2: var x is unsafe"}},
		{"types", "t/allow", []Source{{"a.rego", []byte("package t\nallow if 1 == \"x\"")}}, []string{"a.rego:2: match error"}},
		{"recursion", "t/allow", []Source{{"a.rego", []byte("package t\nallow := b\nb := allow")}}, []string{"a.rego:2: rule data.t.allow is recursive: data.t.allow -> data.t.b -> data.t.allow", "a.rego:3: rule data.t.b is recursive: data.t.b -> data.t.allow -> data.t.b"}},
		{"not allowed", "t/allow", []Source{{"a.rego", []byte("package t\nallow if http.send({})")}}, []string{"a.rego:2: undefined function http.send"}},
		{"Rego of version 2", "t/allow", []Source{{"a.rego", []byte("package t\nimport rego.v2\nallow := true")}}, []string{"a.rego:2: invalid import, `rego.v2` is not supported by current capabilities"}},
		{"empty module", "t/allow", []Source{{"a.rego", []byte("# nothing\n")}}, []string{"a.rego: empty module"}},
		{"nothing at all", "t/allow", nil, []string{`no rule at decision path "t/allow"; packages found: none`}},
		{"wrong package", "x/allow", []Source{good, {"b.rego", []byte("package a.b")}}, []string{`no rule at decision path "x/allow"; packages found: a/b, t`}},
		{"package instead of rule", "t", []Source{good}, []string{`no rule at decision path "t"; packages found: t`}},
		{"data instead of rule", "t/data", []Source{good, {"t/data.json", []byte(`{"data": true}`)}}, []string{`no rule at decision path "t/data"; packages found: t`}},
		{"function", "t/f", []Source{{"a.rego", []byte("package t\n\nf(x) := x")}}, []string{`a.rego:3: decision path "t/f" is a function, not a rule`}},
		{"empty path", "", []Source{good}, []string{`decision path "": want names separated by single slashes, as in agentidp/authz/allow`}},
		{"path with an empty name", "t//allow", []Source{good}, []string{`decision path "t//allow": want names separated by single slashes, as in agentidp/authz/allow`}},
		{"rule over data", "t/allow", []Source{good, {"data.yaml", []byte("t: {allow: true}")}}, []string{"good.rego:2: conflicting rule for data path t/allow found"}},
		{"two files at one path", "t/allow", []Source{
			good, {"a/data.json", []byte(`{"b": {"c": 1}}`)}, {"a/b/data.yaml", []byte("c: 1")},
		}, []string{"a/b/data.yaml: data.a.b.c is also defined by a/data.json"}},
		{"object and value at one path", "t/allow", []Source{
			good, {"data.json", []byte(`{"x": {}, "a": 1}`)}, {"a/data.json", []byte(`{"b": 1}`)},
		}, []string{"a/data.json: data.a is also defined by data.json"}},
		{"JSON", "t/allow", []Source{good, {"data.json", []byte("{\n\"a\": 1,\n\"a\": 2}")}}, []string{"data.json:3: "}},
		{"JSON list", "t/allow", []Source{good, {"data.json", []byte("[]")}}, []string{"data.json:1: "}},
		{"JSON number", "t/allow", []Source{good, {"data.json", []byte(`{"a": 1e999}`)}}, []string{"data.json:1: strict JSON: number out of range"}},
		{"YAML syntax", "t/allow", []Source{good, {"data.yaml", []byte("a: 1\nb: [\n")}}, []string{"data.yaml:"}},
		{"YAML name twice", "t/allow", []Source{good, {"data.yaml", []byte("a:\n  b: 1\n  b: 2\n")}}, []string{`data.yaml:3: the name "b" is given twice`}},
		{"YAML name", "t/allow", []Source{good, {"data.yaml", []byte("a:\n  5: 1\n")}}, []string{`data.yaml:2: the name "5" is not a string; quote it`}},
		{"YAML merge key", "t/allow", []Source{good, {"data.yaml", []byte("a: &a {b: 1}\nc:\n  <<: *a\n")}}, []string{`data.yaml:3: the name "<<" is not a string; quote it`}},
		{"YAML list", "t/allow", []Source{good, {"data.yaml", []byte("- a\n")}}, []string{"data.yaml:1: not an object"}},
		{"YAML documents", "t/allow", []Source{good, {"data.yaml", []byte("a: 1\n---\nb: 1\n")}}, []string{"data.yaml:2: more than one YAML document"}},
		{"YAML infinity", "t/allow", []Source{good, {"data.yaml", []byte("a: .inf")}}, []string{`data.yaml:1: ".inf" is not a value JSON has`}},
		{"YAML binary", "t/allow", []Source{good, {"data.yaml", []byte("a: !!binary aGk=")}}, []string{`data.yaml:1: "aGk=" is not a value JSON has`}},
		{"YAML loop", "t/allow", []Source{good, {"data.yaml", []byte("a: &a [*a]")}}, []string{"data.yaml:1: nested deeper than 32"}},
		{"YAML laughs", "t/allow", []Source{good, {"data.yaml", []byte(laughs())}}, []string{"data.yaml:1: more than 1000000 values"}},
		{"source twice", "t/allow", []Source{good, good}, []string{"good.rego: given twice"}},
		{"other file", "t/allow", []Source{good, {"README.md", nil}}, []string{"README.md: neither a .rego file nor data.json or data.yaml"}},
		{"absolute name", "t/allow", []Source{{"/t.rego", nil}}, []string{`"/t.rego" is not a relative path`}},
		{"escaping name", "t/allow", []Source{{"../t.rego", nil}}, []string{`"../t.rego" is not a relative path`}},
		{"too large", "t/allow", []Source{{"t.rego", make([]byte, sourceBytesMax+1)}}, []string{"t.rego: larger than 1048576 bytes"}},
		{"too many", "t/allow", make([]Source, sourcesMax+1), []string{"more than 2000 policy files"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines := strings.Split(compileErr(t, tt.path, tt.sources...), "\n")
			if !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
				t.Errorf("(-want +got)\n%s", cmp.Diff(tt.want, lines))
			}
		})
	}
}

// laughs is a list of 100 lists, each of them 100 times the same list of 100, and so on.
func laughs() string {
	line := "{l0: &l0 x"
	for _, level := range []string{"1", "2", "3", "4"} {
		below := string(level[0] - 1)
		line += ", l" + level + ": &l" + level + " [*l" + below + strings.Repeat(", *l"+below, 99) + "]"
	}
	return line + "}"
}

// TestDeepNesting: the stack of a Go program that overflows is not a panic, it ends the process.
func TestDeepNesting(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"lists":       "package t\nallow := " + strings.Repeat("[", 400_000) + strings.Repeat("]", 400_000),
		"parentheses": "package t\nallow := " + strings.Repeat("(", 400_000) + "1" + strings.Repeat(")", 400_000),
		"sets":        "package t\nallow := " + strings.Repeat("{", 400_000),
		"sums":        "package t\nallow := 1" + strings.Repeat("+1", 2_000),
		"references":  "package t\nallow := input" + strings.Repeat("[input", 50_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := Compile(context.Background(), []Source{{"t.rego", []byte(text)}}, Config{Path: "t/allow"}); err == nil {
				p.Close() // deep is not wrong
			}
		})
	}
}

func TestCompileEndsWithItsContext(t *testing.T) {
	t.Parallel()
	slow := "package t\nallow := 1" + strings.Repeat("+1", 8_000) // about two seconds
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := Compile(ctx, []Source{{"t.rego", []byte(slow)}}, Config{Path: "t/allow"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Compile = %v", err)
	}
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for stacks := make([]byte, 4<<20); ; <-pause.C { // it is left behind to finish alone, and would count as leaked
		if !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("policy.Compile.func1")) {
			return
		}
	}
}

// TestCapabilities: the lists name functions OPA has, and none that may do harm.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	for _, name := range strings.Fields(edgeBuiltins + tokenBuiltins) {
		if ast.BuiltinMap[name] == nil {
			t.Errorf("OPA has no function %s", name)
		}
	}
	nondeterministic := map[string]bool{}
	for _, tokens := range []bool{false, true} {
		for _, b := range profileFor(Config{TokenBuiltins: tokens}).capabilities().Builtins {
			if b.Nondeterministic {
				nondeterministic[b.Name] = true
			}
			for _, bad := range []string{"http.", "opa.", "rand.", "uuid.rfc", "graph.", "net.lookup", "rego.parse", "io.jwt.encode"} {
				if strings.HasPrefix(b.Name, bad) {
					t.Errorf("%s is allowed", b.Name)
				}
			}
			if !tokens && strings.HasPrefix(b.Name, "io.jwt.") {
				t.Errorf("%s is allowed without TokenBuiltins", b.Name)
			}
		}
	}
	want := map[string]bool{"time.now_ns": true, decodeVerify: true, decodeVerifyGuarded: true}
	if diff := cmp.Diff(want, nondeterministic); diff != "" {
		t.Errorf("nondeterministic functions (-want +got)\n%s", diff)
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	module := Source{"t.rego", []byte("package t\nallow := true")}
	revisions := map[string]bool{}
	for _, sources := range [][]Source{
		{module},
		{{"u.rego", module.Data}},
		{{"t.rego", append([]byte("\n"), module.Data...)}},
		{module, {"data.json", []byte("{}")}},
		{module, {"a/data.json", []byte("{}")}},
	} {
		p := mustCompileSources(t, Config{Path: "t/allow"}, profile{builtins: edgeBuiltins}, sources...)
		if len(p.Revision()) != 64 || revisions[p.Revision()] {
			t.Errorf("revision %q is not new", p.Revision())
		}
		revisions[p.Revision()] = true
		slices.Reverse(sources)
		if again := mustCompileSources(t, Config{Path: "t/allow"}, profile{builtins: edgeBuiltins}, sources...); again.Revision() != p.Revision() {
			t.Error("revision depends on the order of the files")
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add("package t\nallow := true")
	f.Add("package t\nimport input.x as y\nallow if { some i; y[i] > count({z | z := y[_]}) } else := 1 if not y")
	f.Add("package t\nallow contains x if { x := input.a[_]; every k, v in x { k < v } }")
	f.Add("package t\nallow[x.y[z]] := f(x) with input as {} if { walk(input, [x, z]) }\nf(x) := x")
	f.Add("package t\nallow := $\"a {input.x}\" if time.now_ns() > 1")
	for _, h := range policytest.HostilePack() {
		f.Add(h.Module())
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		p, err := Compile(context.Background(), []Source{{"t.rego", []byte(text)}}, Config{Path: "t/allow"})
		if err != nil {
			if strings.Contains(err.Error(), "panicked") {
				t.Error(err)
			}
			return
		}
		p.Close()
		_ = p.ReadSet().String()
	})
}
