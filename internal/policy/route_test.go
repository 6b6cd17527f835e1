package policy

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const routed = `package a

default allow := false

allow if input.x == 1

default other := false

other if input.y == 1
`

func TestRoutesDecideByThemselves(t *testing.T) {
	t.Parallel()
	p, err := Compile(context.Background(), []Source{{Name: "p.rego", Data: []byte(routed)}}, Config{Path: "a/allow", Routes: []string{"a/other"}, EvalTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	other, ok := p.Route("a/other")
	if !ok || other.Revision() != p.Revision() || other.ReadSet().String() == p.ReadSet().String() {
		t.Fatalf("%v: %s and %s", ok, p.ReadSet(), other.ReadSet())
	}
	for _, name := range []string{"a/allow", "", "a", "a/none"} {
		if _, ok := p.Route(name); ok {
			t.Errorf("%q is a route", name)
		}
	}
	for member, want := range map[string][2]bool{"x": {true, false}, "y": {false, true}} {
		input, err := FromAny(map[string]any{member: json.Number("1")})
		if err != nil {
			t.Fatal(err)
		}
		for i, q := range []*Policy{p, other} {
			if got, err := q.Eval(context.Background(), input); err != nil || got != want[i] {
				t.Errorf("%s, %d: %v %v", member, i, got, err)
			}
		}
	}
}

func TestRoutesMustExist(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"a/none": "a/none", "A B": "A B", "": "path"} {
		p, err := Compile(context.Background(), []Source{{Name: "p.rego", Data: []byte(routed)}}, Config{Path: "a/allow", Routes: []string{path}})
		if p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", path, err)
		}
	}
}
