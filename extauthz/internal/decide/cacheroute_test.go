package decide

import (
	"context"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/internal/policy"
)

// A policy and its routes are in force together. Each is remembered, and none for another.
func TestRoutesAreRememberedApart(t *testing.T) {
	t.Parallel()
	const source = "package t\ndefault d := false\nd if input.attributes.request.http.method == \"GET\"\ndefault r := false\nr if input.attributes.request.http.method == \"POST\"\n"
	p, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte(source)}}, policy.Config{Path: "t/d", Routes: []string{"t/r"}, EvalTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	route, ok := p.Route("t/r")
	if !ok {
		t.Fatal("no route")
	}
	cache := newTestCache(t)
	const rounds = 5
	for range rounds {
		for method, want := range map[string][2]bool{"GET": {true, false}, "POST": {false, true}} {
			for i, q := range []*policy.Policy{p, route} {
				d, refusal, fault := cache.Decide(context.Background(), q, Subject{Request: &checkreq.Request{Method: method, Target: "/"}, Now: noon})
				if refusal != nil || fault != nil || d.Allowed != want[i] {
					t.Errorf("%s, %d: %+v %v %v", method, i, d, refusal, fault)
				}
				cache.entries.Wait()
			}
		}
	}
	if hits, misses := cache.Counts(); hits != 4*(rounds-1) || misses != 4 {
		t.Errorf("%d hits, %d misses: the policies drive each other out", hits, misses)
	}
	other := compiled(t, "t/d", "package t\ndefault d := false\n")
	cache.Use(other)
	if bound := *cache.bound.Load(); len(bound) != 1 || bound[0].policy != other {
		t.Errorf("a policy that is gone is held: %d", len(bound))
	}
}
