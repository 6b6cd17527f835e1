package extauthz

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/trust"
)

// sample reads one metric without labels.
func sample(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "agentidp_extauthz_"+name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// remembering is an edge with a decision cache and a clock.
func remembering(t *testing.T, source string) (*edge, *prometheus.Registry, *bytes.Buffer, *time.Time) {
	t.Helper()
	registry, logged, now := prometheus.NewRegistry(), &bytes.Buffer{}, josetest.Now()
	e := newEdge(t, source, func(o *Options) {
		o.Registerer, o.Log = registry, slog.New(slog.NewTextHandler(logged, nil))
		o.Now = func() time.Time { return now }
		o.DecisionCache = settings.DecisionCache{Bytes: 4 << 20, MaxAge: config.Duration{Duration: time.Hour}}
	})
	return e, registry, logged, &now
}

// Decisions are remembered, and what is checked on every request still is.
func TestRememberedDecisionsEndWithWhatTheyStandOn(t *testing.T) {
	t.Parallel()
	e, registry, _, now := remembering(t, ordersPolicy)
	sign := e.signer(t)
	in := request("GET", "/orders/1", "authorization", "Bearer "+sign(nil))
	denied := request("GET", "/orders/1", "authorization", "Bearer "+sign(map[string]any{"scope": "other", "jti": "t-2"}))
	asked := func(hits, misses float64) {
		t.Helper()
		if h, m := sample(t, registry, "decision_cache_hits_total"), sample(t, registry, "decision_cache_misses_total"); h != hits || m != misses {
			t.Errorf("%v hits, %v misses; want %v, %v", h, m, hits, misses)
		}
	}
	// Until a decision is in the cache, which happens behind the request that made it.
	for deadline := time.Now().Add(5 * time.Second); sample(t, registry, "decision_cache_hits_total") == 0 && time.Now().Before(deadline); {
		if a := e.ask(t, in); a.status != 200 || a.headers["x-tenant"] != "org_a" {
			t.Fatalf("%+v", a)
		}
	}
	if sample(t, registry, "decision_cache_enabled") != 1 {
		t.Error("the gauge says off")
	}
	hits, misses := sample(t, registry, "decision_cache_hits_total"), sample(t, registry, "decision_cache_misses_total")
	if a := e.ask(t, in); a.status != 200 || a.headers["x-tenant"] != "org_a" || a.headers["x-agent-id"] != "agt_1" {
		t.Errorf("%+v", a)
	}
	asked(hits+1, misses)
	if a := e.ask(t, denied); a.status != 403 {
		t.Errorf("another scope: %+v", a)
	}
	asked(hits+1, misses+1)

	// Revoked, and not asked of the policy at all.
	list := func(l *trust.RevocationList) {
		e.changeIssuer(func(i *state.Issuer) { i.Revocations, i.HasRevocations = trust.Index(l), true })
	}
	list(&trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1"}}})
	if a := e.ask(t, in); a.status != 401 {
		t.Errorf("revoked: %+v", a)
	}
	asked(hits+1, misses+1)
	list(nil)
	if a := e.ask(t, in); a.status != 200 {
		t.Errorf("with another list: %+v", a)
	}
	asked(hits+1, misses+2) // decided under one list, not remembered under another

	// Another policy decides at once.
	e.store.Update(func(s *state.Snapshot) { s.Policy = compile(t, "package agentidp.authz\nallow := false\n", false) })
	if a := e.ask(t, in); a.status != 403 {
		t.Errorf("another policy: %+v", a)
	}
	*now = now.Add(400 * time.Second)
	if a := e.ask(t, in); a.status != 401 {
		t.Errorf("expired: %+v", a)
	}
}

// An operator is told what keeps decisions from being remembered, by file and line.
func TestWhatKeepsDecisionsFromBeingRemembered(t *testing.T) {
	t.Parallel()
	const timely = "package agentidp.authz\ndefault allow := false\nallow if {\n\ttime.now_ns() > 0\n\tinput.attributes.request.http.id != \"\"\n}\n"
	e, registry, logged, _ := remembering(t, ordersPolicy)
	if !strings.Contains(logged.String(), "decisions are remembered") || !strings.Contains(logged.String(), "input.identity") {
		t.Errorf("logged %s", logged)
	}
	p := compile(t, timely, false)
	e.UsePolicy(p)
	e.store.Update(func(s *state.Snapshot) { s.Policy = p })
	for _, want := range []string{"decisions are not remembered", "authz.rego:4: calls time.now_ns", "authz.rego:5: reads input.attributes.request.http.id"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("%q is missing in %s", want, logged)
		}
	}
	if sample(t, registry, "decision_cache_enabled") != 0 {
		t.Error("the gauge says on")
	}
	for range 3 {
		e.ask(t, request("GET", "/healthz"))
	}
	if hits, misses := sample(t, registry, "decision_cache_hits_total"), sample(t, registry, "decision_cache_misses_total"); hits+misses != 0 {
		t.Errorf("%v hits, %v misses of a policy that is not remembered", hits, misses)
	}
}

func TestDecisionCacheOff(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	if e.decisions != nil {
		t.Error("a cache nobody asked for")
	}
	e.UsePolicy(e.store.Load().Policy) // says nothing and does no harm
}
