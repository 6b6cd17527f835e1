package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const explained = `# METADATA
# scope: package
# labels:
#   team: edge
package agentidp.authz

default allow := false

# METADATA
# labels:
#   id: readers-may-read
allow if {
	input.method == "GET"
	reader
}

allow if {
	input.method == "PUT"
	input.admin
}

reader if data.orgs[input.org].readers[_] == input.agent
`

func explain(t *testing.T, p *Policy, input map[string]any) *Explanation {
	t.Helper()
	v, err := FromAny(input)
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.Explain(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExplain(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: "agentidp/authz/allow"}
	p := mustCompileSources(t, cfg, profileFor(cfg),
		Source{Name: "mesh/authz.rego", Data: []byte(explained)},
		Source{Name: "data.json", Data: []byte(`{"orgs": {"a": {"readers": ["x", "y"]}}}`)})
	got := explain(t, p, map[string]any{"method": "GET", "org": "a", "agent": "y"})
	want := &Explanation{
		Decision: true,
		Rules: []ExplainedRule{
			{"data.agentidp.authz.allow", "mesh/authz.rego", 12, true},
			{"data.agentidp.authz.reader", "mesh/authz.rego", 22, true},
		},
		Data:   []ExplainedData{{"data.orgs.a.readers", true}},
		Labels: []map[string]any{{"team": "edge"}, {"id": "readers-may-read", "team": "edge"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got = explain(t, p, map[string]any{"method": "GET", "org": "b", "agent": "y"})
	want = &Explanation{
		Decision: false,
		Rules: []ExplainedRule{
			{"data.agentidp.authz.allow", "mesh/authz.rego", 7, true},
			{"data.agentidp.authz.allow", "mesh/authz.rego", 12, false},
			{"data.agentidp.authz.reader", "mesh/authz.rego", 22, false},
		},
		Data:   []ExplainedData{{"data.orgs.b.readers", false}},
		Labels: []map[string]any{{"team": "edge"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// An explanation decides as Eval does, and leaves Eval as it was.
func TestExplainAgreesWithEval(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, "a/allow", Config{}, "package a\nallow := {\"allowed\": x, \"n\": input.n} if x := input.n > 2\n")
	for _, n := range []json.Number{"1", "2", "3.5", "1e10"} {
		input, err := FromAny(map[string]any{"n": n})
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.Eval(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Explain(t.Context(), input)
		if err != nil || !cmp.Equal(e.Decision, want) {
			t.Errorf("%s: %v, %v; want %v", n, e, err, want)
		}
	}
	if e := explain(t, p, map[string]any{}); e.Decision != nil || len(e.Rules) != 0 || len(e.Data) != 0 {
		t.Errorf("undefined: %+v", e)
	}
}

// Whoever has an answer may ask again at once: the place is free before the answer is given.
func TestExplainAgainAtOnce(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, "a/allow", Config{}, "package a\nallow := true\n")
	for range 500 {
		explain(t, p, map[string]any{})
	}
}

func TestExplainIsBounded(t *testing.T) {
	t.Parallel()
	var rules strings.Builder
	rules.WriteString("package a\nallow := count(all)\n")
	for n := range 2 * explainRulesMax {
		fmt.Fprintf(&rules, "all contains %d if { input.x != %d; not data.d[\"k%d\"] }\n", n, n+1, n)
	}
	cfg := Config{Path: "a/allow"}
	p := mustCompileSources(t, cfg, profileFor(cfg), Source{Name: "p.rego", Data: []byte(rules.String())}, Source{Name: "data.json", Data: []byte(`{"d": {"x": 1}}`)})
	e := explain(t, p, map[string]any{"x": json.Number("0")})
	if !e.Truncated || len(e.Rules) != explainRulesMax || len(e.Data) != explainDataMax {
		t.Errorf("truncated %v, %d rules, %d data", e.Truncated, len(e.Rules), len(e.Data))
	}
}

// A policy that does not end, and one whose function cannot be interrupted, end an explanation in time, and never hold up Eval.
func TestExplainOfHostilePolicies(t *testing.T) {
	t.Parallel()
	loop := mustCompile(t, "a/allow", Config{EvalTimeout: time.Millisecond}, "package a\nallow if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i + j == input.x }\n")
	began := time.Now()
	if e, err := loop.Explain(t.Context(), Object(Member{"x", Int(-1)})); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v, %v", e, err)
	}
	if d := time.Since(began); d > patient {
		t.Errorf("took %v", d)
	}

	release := make(chan struct{})
	stuck := waiting(t, release, Config{})
	input := Object(Member{"wait", Bool(true)})
	if _, err := stuck.Explain(t.Context(), input); !errors.Is(err, ErrTimeout) {
		t.Errorf("a function that does not return: %v", err)
	}
	if _, err := stuck.Explain(t.Context(), input); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a second explanation: %v", err)
	}
	if s := stuck.Stats(); s.Overruns != 0 || s.Stuck != 0 || !s.QuarantinedUntil.IsZero() {
		t.Errorf("counted against the policy: %+v", s)
	}
	close(release)
	stuck.engine.explaining <- struct{}{} // waits until the place is free again
	<-stuck.engine.explaining
	if e, err := stuck.Explain(t.Context(), input); err != nil || e.Decision != true {
		t.Errorf("after it returned: %v, %v", e, err)
	}
}

func TestExplainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, "a/allow", Config{}, "package a\nallow := true\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := p.Explain(ctx, Object()); err == nil {
		t.Errorf("got %+v", e)
	}
}

func TestJSONAndBack(t *testing.T) {
	t.Parallel()
	want, err := FromAny(map[string]any{"a": []any{json.Number("1.50"), "x", nil, true}, "b": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := ToAny(want)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromJSON(text)
	if err != nil || got.Compare(want) != 0 {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := FromJSON([]byte("{")); err == nil {
		t.Error("half a document is read")
	}
}
