package extauthz

import (
	"context"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
)

// The tests in compat_*_test.go run policies as opa-envoy-plugin's users write them, one case for each behaviour its own
// tests assert. Where ours differs, the name of the case says "unlike the plugin", and docs/policies.md says why.

func (e *edge) setPolicy(p *policy.Policy) { e.store.Update(func(s *state.Snapshot) { s.Policy = p }) }

// drop is a sidecar as a drop-in: the policy alone decides, by path.
func drop(t testing.TB, path, source string, change func(*Options)) *edge {
	t.Helper()
	e := newEdge(t, denyingNothing, func(o *Options) {
		o.Identity, o.DecisionPath = settings.IdentityPolicy, path
		if change != nil {
			change(o)
		}
	})
	e.setPolicy(compileAt(t, path, source, false))
	return e
}

func compileAt(t testing.TB, path, source string, v0 bool) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(context.Background(), []policy.Source{{Name: "authz.rego", Data: []byte(source)}},
		policy.Config{Path: path, TokenBuiltins: true, RegoV0: v0, EvalTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// message is the whole answer Envoy gets.
func (e *edge) message(t testing.TB, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	m, err := e.Check(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
