package policy

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEval(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, module string
		want         any
		err          error
	}{
		{"true", "package t\nd := true", true, nil},
		{"false", "package t\ndefault d := false\nd if input.x", false, nil},
		{"null", "package t\nd := null", nil, nil},
		{"object", "package t\nd := {\"allowed\": true, \"s\": {3, 1, 2}}", map[string]any{"allowed": true, "s": []any{"1", "2", "3"}}, nil},
		{"parts of a document", "package t\nd.allowed := true\nd.body := \"x\"", map[string]any{"allowed": true, "body": "x"}, nil},
		{"undefined", "package t\nd if input.x", nil, ErrUndefined},
		{"conflict", "package t\nd := 1 if true\nd := 2 if input.x == input.x\nd := 3 if count([]) == 0", nil, ErrEvaluation},
		{"builtin error is undefined", "package t\nd := to_number(\"x\")", nil, ErrUndefined},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := mustCompile(t, "t/d", Config{}, tt.module).Eval(context.Background(), Object(Member{"y", Null()}))
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("number", numberAsText)); diff != "" || !errors.Is(err, tt.err) {
				t.Errorf("Eval = %v, %v", diff, err)
			}
		})
	}
}

// numberAsText lets the table write numbers of lists as strings.
func numberAsText(list []any) []string {
	texts := make([]string, len(list))
	for i, v := range list {
		if s, ok := v.(string); ok {
			texts[i] = s
		} else {
			texts[i] = numberText(v)
		}
	}
	return texts
}

func TestDataIsRead(t *testing.T) {
	t.Parallel()
	p := mustCompileSources(t, Config{Path: "t/d"}, profile{builtins: edgeBuiltins},
		Source{"t.rego", []byte("package t\nd := data.a.b[input.k]")},
		Source{"data.json", []byte(`{"a": {"b": {"x": 1.50}}}`)},
		Source{"a/b/data.yaml", []byte("y: [2026-11-23, yes, 0x10, ~]\n")},
	)
	wantEval := func(key string, want any) {
		t.Helper()
		got, err := p.Eval(context.Background(), Object(Member{"k", String(key)}))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %s %v", key, diff, err)
		}
	}
	wantEval("x", number("1.50"))
	wantEval("y", []any{"2026-11-23", "yes", number("16"), nil})
}
