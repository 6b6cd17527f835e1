package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"
)

var readSets = []struct{ name, module, want string }{
	{"nothing", "package t\nd := true", ""},
	{"paths", "package t\nd if { input.a.b == 1; input.c }", "input.a.b input.c"},
	{"prefix swallows", "package t\nd if { input.a.b == 1; count(input.a) > 1 }", "input.a"},
	{"quoted name", "package t\nd if input.headers[\"x-a.b\"]", "input.headers.x-a.b"},
	{"import", "package t\nimport input.a.b as x\nd if x.c == 1", "input.a.b.c"},
	{"alias", "package t\nd if { x := input.a; not x.b }", "input.a"},
	{"whole", "package t\nd if count(input) > 1", "input"},
	{"whole by unification", "package t\nd if { x = input; x.a }", "input"},
	{"whole in a list", "package t\nd if { [x] = [input]; x.a }", "input"},
	{"computed name", "package t\nd if { some k; input.a[k].b == k }", "input.a"},
	{"name from input", "package t\nd if input.a[input.k]", "input.a input.k"},
	{"number", "package t\nd if input.l[0].x", "input.l"},
	{"head", "package t\nd := {input.a: input.b}", "input.a input.b"},
	{"other rules", "package t\nd if e\ne if input.a\nf if input.b", "input.a"},
	{"else", "package t\nd if input.a\nelse := false if input.b", "input.a input.b"},
	{"default", "package t\ndefault d := false\nd if input.a", "input.a"},
	{"function", "package t\nd if f(input.a)\nf(x) if x == input.b", "input.a input.b"},
	{"comprehensions", "package t\nd := [x | x := input.a] if { count({x | x := input.b}) > 0; count({x: 1 | x := input.c}) > 0 }", "input.a input.b input.c"},
	{"every", "package t\nd if every x in input.a { x == input.b }", "input.a input.b"},
	{"negation", "package t\nd if not input.a", "input.a"},
	{"partial set", "package t\nd if \"x\" in s\ns contains input.a\ns contains \"y\" if input.b", "input.a input.b"},
	{"partial object", "package t\nd if o.x\no[k] := v if { some k, v in input.a }\no.y := input.b", "input.a"},
	{"rules at several depths", "package t\nd if o.x.z.w\no[k] := v if { some k, v in input.a }\no.x.z := {\"w\": input.b}", "input.a input.b"},
	{"package", "package t\nd if data.u", "input.e input.f"},
	{"rule by computed name", "package t\nd if data.u.v[input.k]", "input.e input.f input.k"},
	{"package by computed name", "package t\nd if data.u[input.k].e", "input.e input.f input.k"},
	{"with", "package t\nd if e with input.a as input.z\ne if input.a", "input.a input.z"},
	{"with a function", "package t\nd if count([]) == 1 with count as f\nf(_) := input.a", "input.a"},
	{"template", "package t\nd := $\"{input.a}\"", "input.a"},
	{"call on input", "package t\nd if object.get(input.a, input.b, 1) == 1", "input.a input.b"},
	{"walk", "package t\nd if walk(input.a, [[\"x\"], true])", "input.a"},
}

func TestReadSet(t *testing.T) {
	t.Parallel()
	for _, tt := range readSets {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := mustCompileSources(t, Config{Path: "t/d"}, profile{builtins: edgeBuiltins},
				Source{"t.rego", []byte(tt.module)}, Source{"u.rego", []byte("package u.v\ne := input.e\nf := input.f")})
			if got := p.ReadSet().String(); got != tt.want {
				t.Errorf("reads %q, want %q", got, tt.want)
			}
		})
	}
}

// TestReadSetCoversOPAs: whatever OPA's own analysis finds, ours has, or something around it.
func TestReadSetCoversOPAs(t *testing.T) {
	t.Parallel()
	for _, tt := range readSets {
		compiler := ast.MustCompileModules(map[string]string{"t.rego": tt.module, "u.rego": "package u.v\ne := input.e\nf := input.f"})
		query := ast.NewBody(ast.NewExpr(ast.NewTerm(ast.MustParseRef("data.t.d"))))
		theirs, err := dependencies.Base(compiler, query)
		if err != nil {
			t.Fatal(err)
		}
		ours, _ := analyse(compiler, ast.MustParseRef("data.t.d"))
		for _, ref := range theirs {
			if !ref[0].Equal(ast.InputRootDocument) {
				continue
			}
			path := constantPath(ref[1:])
			covered := false
			for _, p := range ours.Paths() {
				covered = covered || len(p) <= len(path) && cmp.Equal(p, path[:len(p)])
			}
			if !covered {
				t.Errorf("%s: %v is missing in %v", tt.name, ref, ours)
			}
		}
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, "t/d", Config{}, "package t\nd if { input.a.b; input.c.headers[\"x\"] }").ReadSet()
	for path, want := range map[string]bool{"a": true, "a b": true, "a b c": true, "a c": false, "c headers y": false, "c headers": true, "d": false, "": true} {
		if got := s.Reads(strings.Fields(path)...); got != want {
			t.Errorf("Reads(%s) = %v", path, got)
		}
	}
	s.Paths()[0][0] = "changed"
	if !s.Reads("a") {
		t.Error("Paths gave the set away")
	}
}

func TestNondeterministic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, module string
		want         []Location
	}{
		{"none", "package t\nd := true\ne := time.now_ns()", nil},
		{"direct", "package t\n\nd if time.now_ns() > 1", []Location{{"t.rego", 3, "time.now_ns"}}},
		{"through rules and functions", "package t\nd if e\ne if f(1)\n\nf(x) if {\n\tx < 2\n\ttime.now_ns() > x\n}", []Location{{"t.rego", 7, "time.now_ns"}}},
		{"in a comprehension", "package t\nd := [x |\n\tx := time.now_ns()\n]", []Location{{"t.rego", 3, "time.now_ns"}}},
		{"in an else", "package t\nd if input.a\nelse := time.now_ns()", []Location{{"t.rego", 3, "time.now_ns"}}},
		{"as an argument", "package t\nd := abs(time.now_ns())", []Location{{"t.rego", 2, "time.now_ns"}}},
		{"tokens", "package t\nd := io.jwt.decode_verify(input.t, {})", []Location{{"t.rego", 2, "io.jwt.decode_verify"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := mustCompileSources(t, Config{Path: "t/d"}, profileFor(Config{TokenBuiltins: true}), Source{"t.rego", []byte(tt.module)})
			if diff := cmp.Diff(tt.want, p.Nondeterministic()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
