package policy

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func numberText(v any) string {
	n, _ := v.(json.Number)
	return n.String()
}

// echo sends a value through a policy and returns what comes out.
func echo(t *testing.T, input Value) any {
	t.Helper()
	got, err := mustCompile(t, "t/echo", Config{}, "package t\necho := input").Eval(context.Background(), input)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestValuesComeOutAsTheyWentIn(t *testing.T) {
	t.Parallel()
	input := Object(
		Member{"method", String("GET")},
		Member{"unusual name", Strings([]string{"a", "", "é"})},
		Member{"n", Int(-12345678901234)},
		Member{"yes", Bool(true)},
		Member{"null", Null()},
		Member{"left out", nil},
		Member{"list", Array(Int(1), Array(), Object())},
	)
	want := map[string]any{
		"method": "GET", "unusual name": []any{"a", "", "é"}, "n": json.Number("-12345678901234"), "yes": true, "null": nil,
		"list": []any{json.Number("1"), []any{}, map[string]any{}},
	}
	if diff := cmp.Diff(want, echo(t, input)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFromAny(t *testing.T) {
	t.Parallel()
	tree := map[string]any{
		"s": "x", "b": false, "n": nil, "i": json.Number("9007199254740993"), "f": json.Number("1.5e3"),
		"l": []any{"a", map[string]any{"k": json.Number("0")}},
	}
	value, err := FromAny(tree)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(tree), echo(t, value)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestFromAnyRefuses(t *testing.T) {
	t.Parallel()
	deep := any("x")
	for range anyDepthMax {
		deep = []any{deep}
	}
	long := make([]byte, numberBytesMax+1)
	for i := range long {
		long[i] = '1'
	}
	for name, v := range map[string]any{
		"huge exponent": json.Number("1e999999999"),
		"too long":      json.Number(long),
		"hexadecimal":   json.Number("0x10"),
		"infinity":      json.Number("Inf"),
		"empty":         json.Number(""),
		"text":          json.Number("1 2"),
		"int":           1,
		"float":         1.5,
		"in a list":     []any{json.Number("1e400")},
		"in an object":  map[string]any{"x": struct{}{}},
		"too deep":      deep,
	} {
		if got, err := FromAny(v); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func number(text string) json.Number { return json.Number(text) }
