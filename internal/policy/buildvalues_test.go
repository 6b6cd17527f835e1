package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/rego"
	"pgregory.net/rapid"
)

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// plainly evaluates a module as OPA compiles it, with nothing of ours.
func plainly(t failer, module string, input any) (any, bool) {
	t.Helper()
	results, err := rego.New(rego.Module("m.rego", module), rego.Query("data.a.allow"), rego.Input(input)).Eval(context.Background())
	if err != nil {
		return nil, false
	}
	if len(results) == 0 {
		return nil, true
	}
	return results[0].Expressions[0].Value, true
}

// agrees asserts that values which are built where they are written (buildValues) change no decision.
func agrees(t failer, module string, inputs ...map[string]any) {
	t.Helper()
	p, err := Compile(context.Background(), []Source{{Name: "m.rego", Data: []byte(module)}}, Config{Path: "a/allow"})
	if err != nil {
		t.Fatalf("%v\n%s", err, module)
	}
	defer p.Close()
	for _, input := range inputs {
		want, ok := plainly(t, module, input)
		v, err := FromAny(input)
		if err != nil {
			t.Fatalf("%v", err)
		}
		got, err := p.Eval(context.Background(), v)
		if errors.Is(err, ErrTimeout) || errors.Is(err, ErrOverloaded) {
			continue // of a busy machine; nothing was decided
		}
		switch {
		case !ok && err == nil, ok && want != nil && err != nil:
			t.Errorf("%v: %v, %v; OPA alone %v, an error: %v\n%s", input, got, err, want, !ok, module)
		case ok && want == nil && err == nil && got != nil:
			t.Errorf("%v: %v; OPA alone: undefined\n%s", input, got, module)
		case ok && want != nil && !cmp.Equal(normal(t, want), normal(t, got)):
			t.Errorf("%v: %s\n%s", input, cmp.Diff(normal(t, want), normal(t, got)), module)
		}
	}
}

// normal is a value as JSON has it.
func normal(t failer, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

var groundInputs = []map[string]any{
	{},
	{"x": "a", "y": json.Number("1"), "l": []any{"a", "b"}, "o": map[string]any{"a": json.Number("1"), "b": map[string]any{"c": "d"}}},
	{"x": "b", "y": json.Number("2"), "l": []any{}, "o": map[string]any{}},
	{"x": false, "y": nil, "l": []any{[]any{"a", "b"}, []any{"b", "c"}}, "o": map[string]any{"a": []any{"x", false}}},
	{"x": []any{"a", json.Number("1")}, "y": map[string]any{"k": "v"}, "l": []any{map[string]any{"k": "v"}, "a"}, "o": map[string]any{"k": "v", "b": "a"}},
}

// Values with variables in them, in every place where Rego allows one.
func TestBuiltValuesChangeNoDecision(t *testing.T) {
	t.Parallel()
	for _, rules := range []string{
		`allow := [input.x, input.y]`,
		`allow := {"a": input.x, input.x: 1}`,
		`allow := {input.x, input.y, "a"}`,
		`allow if { v := input.x; [v, "a"] == ["a", v] }`,
		`allow if { v := input.x; not [v, 1] == ["a", input.y] }`,
		`allow if { not {"k": input.x}.k }`,
		`allow if { v := input.y; not {"a": v} == input.o }`,
		`allow := [a, b] if { [a, b] = input.l }`,
		`allow := [a, c] if { [a, [b, c]] = [input.x, [input.y, input.x]] }`,
		`allow := a if { b := "a"; [b, a] = input.l }`,
		`allow := v if { {"k": v} = input.y }`,
		`allow := v if { k := input.x; {k: v} = {k: [input.y]} }`,
		`allow := v if { some v in [input.x, input.y, [input.x]] ; v != "b" }`,
		`allow := n if { n := count([1 | some v in input.l; v in {input.x, "b"}]) }`,
		`allow := {k: [v, input.x] | some k, v in input.o}`,
		`allow := {[v, w] | some v in input.l; some w in input.l}`,
		`allow := [[v, w] | some v in input.l; w := [v, [v, input.x]]]`,
		`allow if { every v in [input.x, input.y] { v in [input.x, input.y, input.l] } }`,
		`allow if { every i, v in input.l { [i, v] == [i, input.l[i]] } }`,
		`f(a) := [a, a]
allow := f([input.x, f(input.y)])`,
		`f([a, b]) := {"a": a, "b": [b, a]}
allow := f([input.x, input.y])`,
		`f(a, b) if { [a, b] == ["a", 1] }
allow if f(input.x, input.y)`,
		`f(a) := 1 if { a == [input.x] } else := [a, input.y] if { input.y } else := {"none": a}
allow := f([input.x, 1])`,
		`p contains [v, input.x] if { some v in input.l }
allow := p`,
		`p[input.x] := [input.y, input.x] if { input.x in ["a", "b"] }
allow := p`,
		`allow if { count([input.x, input.y]) == 2; object.get({"a": input.x}, "a", 0) == "a" }`,
		`allow := x if { x := concat(",", [input.x, "b"]) }`,
		`allow := x if { x := json.marshal({"a": [input.x, input.y]}) }`,
		`allow := x if { x := array.concat([input.x], [input.y, [input.x]]) }`,
		`allow := x if { x := object.union({"a": input.x}, {"b": {"c": input.y}}) }`,
		`allow := x if { x := {"a": {"b": input.x}}.a.b }`,
		`allow := x if { x := [input.x, {"k": [input.y]}][1].k[0] }`,
		`allow := x if { i := 1; x := [input.x, input.y][i] }`,
		`allow if { [input.x, input.y] == ["q", 1] with input.x as "q" with input.y as 1 }`,
		`q := [input.x, "w"]
allow := r if { r := q with input.x as "z" }`,
		`q := [input.x, data.a.r]
r := {"r": input.y}
allow := [q, r]`,
		`default allow := false
allow if { v := [input.x]; w := [v, v]; w[1][0] == "a" }`,
		`allow := sprintf("%v %v", [input.x, [input.y, input.x]])`,
		`allow if { x := {v | some v in input.l}; x & {input.x, "b"} != set() }`,
		`allow := x if { x := {"s": {v | some v in input.l}, "n": [n | n := input.y]} }`,
		`allow if { some i; [i, input.x] = [0, input.l[i]] }`,
		`allow := walked if { walked := [p | walk({"a": [input.x, input.o]}, [p, _])] }`,
		`allow := v if { [_, v] := [input.x, [input.y, input.x]] }`,
		`allow := [v, w] if { {"a": v, "b": w} := {"a": [input.x], "b": {"c": input.y}} }`,
		`allow := x if { x := [y | some z in input.l; y := [input.x, z]] }`,
		`allow if { {"a": input.x} in [{"a": "a"}, {"a": input.y}] }`,
		`allow if { ["a", 1] in {[input.x, input.y]} }`,
		`allow := max([count(input.l), count({input.x, input.y, "a"})])`,
	} {
		agrees(t, "package a\n"+rules+"\n", groundInputs...)
	}
}

// The same of bodies nobody wrote: values of values, in equations, in arguments and under not.
func TestBuiltValuesOfAnyBody(t *testing.T) {
	t.Parallel()
	values := func(t *rapid.T, depth int, bound []string) string {
		var value func(int) string
		value = func(depth int) string {
			kinds := 3
			if depth > 0 {
				kinds = 7
			}
			switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
			case 0:
				return rapid.SampledFrom([]string{`"a"`, `"b"`, "1", "false", "null"}).Draw(t, "constant")
			case 1:
				return "input." + rapid.SampledFrom([]string{"x", "y", "l", "o"}).Draw(t, "field")
			case 2:
				return rapid.SampledFrom(append([]string{"input.x"}, bound...)).Draw(t, "variable")
			case 3:
				return "[" + value(depth-1) + ", " + value(depth-1) + "]"
			case 4:
				return `{"k": ` + value(depth-1) + `, "l": ` + value(depth-1) + "}"
			case 5:
				return "{" + value(depth-1) + ", " + value(depth-1) + "}"
			default:
				// Not of a set: OPA goes through {"a", input.x} twice when input.x is "a", and we once.
				return "[w | some w in [" + value(depth-1) + ", " + value(depth-1) + "]; w != " + value(0) + "]"
			}
		}
		return value(depth)
	}
	compiled := 0
	rapid.Check(t, func(t *rapid.T) {
		var body []string
		var bound []string
		for n := range rapid.IntRange(1, 5).Draw(t, "statements") {
			v := fmt.Sprintf("v%d", n)
			a, b := values(t, 2, bound), values(t, 2, bound)
			switch rapid.IntRange(0, 11).Draw(t, "statement") {
			case 0:
				body = append(body, v+" := "+a)
			case 1:
				body = append(body, "["+v+", _] = ["+a+", "+b+"]")
			case 2:
				body = append(body, v+" := 0", "not "+a+" == "+b)
			case 3:
				body = append(body, v+" := count(["+a+", "+b+"])")
			case 4:
				body = append(body, v+` := object.get({"k": `+a+`}, "k", `+b+")")
			case 5:
				body = append(body, v+" := 0", "every e in ["+a+", "+b+"] { e != [e, "+a+"] }")
			case 6:
				body = append(body, v+" := f("+a+", "+b+")")
			case 7:
				body = append(body, v+" := 0", "not f("+a+", "+b+") == "+a)
			case 8:
				body = append(body, v+" := {k: [w, "+a+"] | some k, w in input.o; w != "+b+"}")
			case 9:
				body = append(body, v+" := q with input.x as "+a)
			case 10:
				body = append(body, v+" := {"+a+", "+b+"} & {"+b+", 1}")
			default:
				body = append(body, "some "+v+" in ["+a+", "+b+"]")
			}
			bound = append(bound, v)
		}
		module := "package a\nimport rego.v1\nf(x, y) := [x, [y, x]] if { x != y } else := {\"x\": [x]}\nq := [input.x, {input.y, input.l}]\nallow := [r | " + strings.Join(body, "; ") + "; r := [" + strings.Join(bound, ", ") + "]]\n"
		if _, err := rego.New(rego.Module("m.rego", module), rego.Query("data.a.allow")).PrepareForEval(context.Background()); err == nil { // types can tell that some never hold
			compiled++
			agrees(t, module, groundInputs...)
		}
	})
	if compiled == 0 {
		t.Error("none was compiled")
	}
}
