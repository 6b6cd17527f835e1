package decide

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/policies"
)

// meshData lets agt_1 of org_a read orders.
const meshData = `{"mesh": {"defaultService": "orders", "services": {"orders": {"organizations": ["org_a"], "routes": {
	"orders": {"/*": {"/": {"GET": {"scopes": ["a"]}}}, "export": {"/": {"GET": {"scopes": ["a"]}}}}}}}}}`

// meshPolicy is the mesh policy, and what is put beside it.
func meshPolicy(t testing.TB, path string, beside ...policy.Source) *policy.Policy {
	t.Helper()
	sources := append([]policy.Source{{Name: "data.json", Data: []byte(meshData)}}, beside...)
	names, err := fs.Glob(policies.Mesh(), "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(policies.Mesh(), name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, policy.Source{Name: name, Data: content})
	}
	p, err := policy.Compile(context.Background(), sources, policy.Config{Path: path, EvalTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func example(t testing.TB, name string) policy.Source {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../../../policies/examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return policy.Source{Name: filepath.ToSlash(name), Data: content}
}

// The policies that ship are remembered, by these parts of a request. A change of one of them that ends this, or adds a
// part that differs in every request, costs operators most of their throughput: it should be a decision.
func TestPoliciesThatShipAreRemembered(t *testing.T) {
	t.Parallel()
	const lookup = "input.attributes.contextExtensions.service input.attributes.destination.principal input.attributes.request.http.method "
	alone := func(name, path string) *policy.Policy { return compiled(t, path, string(example(t, name).Data)) }
	for name, tt := range map[string]struct {
		policy *policy.Policy
		reads  string
	}{
		"mesh, boolean": {meshPolicy(t, "agentidp/authz/allow"), lookup +
			"input.identity.issuer input.identity.organizationId input.identity.origin input.identity.scopes input.identity.subject input.parsed_host input.parsed_path"},
		"mesh, object": {meshPolicy(t, "agentidp/authz/decision"), lookup +
			"input.identity.issuer input.identity.organizationId input.identity.origin input.identity.scopes input.identity.subject input.parsed_host input.parsed_path"},
		"custom rule": {meshPolicy(t, "acme/authz/decision", example(t, "custom-rule/authz.rego")), lookup +
			"input.identity.confirmation input.identity.issuer input.identity.organizationId input.identity.origin input.identity.scopes input.identity.subject input.parsed_host input.parsed_path"},
		"opa-envoy, boolean": {
			alone("opa-envoy/boolean/policy.rego", "envoy/authz/allow"),
			"input.attributes.request.http.method input.attributes.source.principal input.identity.scopes input.parsed_path",
		},
		"opa-envoy, object": {
			alone("opa-envoy/object/policy.rego", "envoy/shop/decision"),
			"input.attributes.request.http.method input.identity.claims.plan",
		},
	} {
		report := newTestCache(t).Use(tt.policy)
		if !report.On || report.ReadSet != tt.reads {
			t.Errorf("%s: on: %v %v, reads %s", name, report.On, report.Obstacles, report.ReadSet)
		}
	}
}

func orderOf(id string) Subject {
	return Subject{
		Request: &checkreq.Request{
			Method: "GET", Host: "orders.example", HostName: "orders.example", Target: "/orders/" + id, Path: "/orders/" + id, Segments: []string{"orders", id},
			Headers: checkreq.Headers{{Name: "user-agent", Value: "agent/1.0"}},
		},
		Identity: identities()[5], Issuer: &state.Issuer{}, Now: noon, // with scopes "a b"
	}
}

// A remembered decision costs no memory: the key is made in a buffer that is kept, and looked up as it is.
func TestAHitAllocatesNothing(t *testing.T) {
	cache, p, s := newTestCache(t), meshPolicy(t, "agentidp/authz/decision"), orderOf("42")
	if d, refusal, fault := cache.Decide(context.Background(), p, s); refusal != nil || fault != nil || !d.Allowed {
		t.Fatal(d, refusal, fault)
	}
	cache.entries.Wait()
	// One is for the race detector, under which the pool of buffers forgets on purpose.
	if n := testing.AllocsPerRun(1000, func() { cache.Decide(context.Background(), p, s) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if hits, misses := cache.Counts(); misses != 1 || hits < 1000 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
}

func BenchmarkDecide(b *testing.B) {
	p, s := meshPolicy(b, "agentidp/authz/decision"), orderOf("42")
	denied := orderOf("42")
	denied.Identity = identities()[7] // scope "ab"
	run := func(decide func(context.Context, Evaluator, Subject) (*Decision, *checkreq.Refusal, *Fault), s Subject) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, _, _ := decide(context.Background(), p, s); d == nil {
					b.Fatal("nothing decided")
				}
			}
		}
	}
	cache, epoch := newTestCache(b), uint64(0)
	for _, s := range []Subject{s, denied} {
		cache.Decide(context.Background(), p, s)
	}
	cache.entries.Wait()
	b.Run("evaluated", run(Decide, s))
	b.Run("remembered", run(cache.Decide, s))
	b.Run("denial evaluated", run(Decide, denied))
	b.Run("denial remembered", run(cache.Decide, denied))
	b.Run("remembered, many callers", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				cache.Decide(context.Background(), p, s)
			}
		})
	})
	b.Run("evaluated, many callers", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _, _ = Decide(context.Background(), p, s)
			}
		})
	})
	b.Run("not yet remembered", func(b *testing.B) {
		b.ReportAllocs()
		s := s
		for b.Loop() {
			epoch++
			s.Issuer = &state.Issuer{Epoch: epoch}
			cache.Decide(context.Background(), p, s)
		}
	})
}
