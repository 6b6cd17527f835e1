package extauthz

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/ratelimit"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// limited is an edge with limits and a clock that stands still.
func limited(t *testing.T, l settings.Limits, more ...func(*Options)) (e *edge, now *time.Time, ask func(claims map[string]any) answer) {
	t.Helper()
	clock := josetest.Now()
	l.Enforce = l.Enforce || !l.Metadata
	e = newEdge(t, ordersPolicy, func(o *Options) {
		o.Limits, o.Now = &l, func() time.Time { return clock }
		for _, change := range more {
			change(o)
		}
	})
	sign := e.signer(t)
	return e, &clock, func(claims map[string]any) answer {
		return e.ask(t, request("GET", "/orders/1", "authorization", "Bearer "+sign(claims)))
	}
}

func statuses(ask func(map[string]any) answer, claims map[string]any, n int) (list []int) {
	for range n {
		list = append(list, ask(claims).status)
	}
	return list
}

func TestLimitsOfOrganizations(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&logged), decisionlog.Config{SampleAllowed: 1})
	_, now, ask := limited(t, settings.Limits{Organization: &settings.RateLimit{Rate: 2, Burst: 3}}, func(o *Options) { o.DecisionLog = log })
	if d := cmp.Diff([]int{200, 200, 200, 429, 429}, statuses(ask, nil, 5)); d != "" {
		t.Fatal(d)
	}
	got := ask(map[string]any{"sub": "agt_2"})
	want := map[string]string{"content-type": "application/problem+json", "retry-after": "1", "ratelimit-policy": `"organization";q=3;w=2`, "ratelimit": `"organization";r=0;t=1`}
	if d := cmp.Diff(want, got.headers); d != "" || got.status != 429 || got.code != "organization_limit" {
		t.Errorf("another agent of it: %+v %s", got, d)
	}
	*now = now.Add(500 * time.Millisecond)
	if d := cmp.Diff([]int{200, 429}, statuses(ask, nil, 2)); d != "" {
		t.Errorf("half a second later: %s", d)
	}
	if err := log.Close(t.Context()); err != nil || !strings.Contains(logged.String(), `"organization_limit"`) {
		t.Errorf("%v: the decision log does not say why: %s", err, logged.String())
	}
}

func TestLimitsByName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits settings.Limits
		want   []int
	}{
		"named":              {settings.Limits{Organization: &settings.RateLimit{Rate: 1, Burst: 1}, Organizations: map[string]settings.RateLimit{"org_a": {Rate: 1, Burst: 2}}}, []int{200, 200, 429}},
		"another is named":   {settings.Limits{Organization: &settings.RateLimit{Rate: 1, Burst: 1}, Organizations: map[string]settings.RateLimit{"org_b": {Rate: 1, Burst: 2}}}, []int{200, 429, 429}},
		"only another named": {settings.Limits{Organizations: map[string]settings.RateLimit{"org_b": {Rate: 1, Burst: 1}}}, []int{200, 200, 200}},
		"not enforced":       {settings.Limits{Organization: &settings.RateLimit{Rate: 1, Burst: 1}, Metadata: true}, []int{200, 200, 200}},
	} {
		_, _, ask := limited(t, c.limits)
		if d := cmp.Diff(c.want, statuses(ask, nil, 3)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// An agent that is beyond its own limit uses up nothing of its organization's.
func TestLimitsOfAgents(t *testing.T) {
	t.Parallel()
	_, _, ask := limited(t, settings.Limits{Organization: &settings.RateLimit{Rate: 0.1, Burst: 3}, Agent: &settings.RateLimit{Rate: 0.5, Burst: 1}})
	if d := cmp.Diff([]int{200, 429, 429, 429, 429}, statuses(ask, nil, 5)); d != "" {
		t.Fatal(d)
	}
	if got := ask(nil); got.code != "agent_limit" || got.headers["retry-after"] != "2" || got.headers["ratelimit-policy"] != `"agent";q=1;w=2` {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		agent, code string
	}{{"agt_2", ""}, {"agt_3", ""}, {"agt_4", "organization_limit"}} {
		if got := ask(map[string]any{"sub": c.agent}); got.code != c.code {
			t.Errorf("%s: %+v", c.agent, got)
		}
	}
}

// What is counted is what a verified caller asks: nobody else's requests, bad tokens and proofs use anything up.
func TestLimitsCountVerifiedCallers(t *testing.T) {
	t.Parallel()
	e, _, _ := limited(t, settings.Limits{Organization: &settings.RateLimit{Rate: 0.1, Burst: 1}, Agent: &settings.RateLimit{Rate: 0.1, Burst: 1}}, longStarted)
	sign, holder := e.signer(t), josetest.NewHolder()
	token := sign(boundTo("jkt", holder.Thumbprint()))
	for range 5 {
		if got := e.ask(t, request("GET", "/healthz")); got.status != 200 {
			t.Errorf("a public route: %+v", got)
		}
		if got := e.ask(t, asDPoP(token, josetest.NewHolder())); got.status != 401 {
			t.Errorf("a thief: %+v", got)
		}
	}
	if got := e.ask(t, asDPoP(token, holder)); got.status != 200 {
		t.Errorf("the owner: %+v", got)
	}
	if got := e.ask(t, asDPoP(token, holder)); got.status != 429 {
		t.Errorf("the owner again: %+v", got)
	}
}

func TestLimitsHoldInADryRun(t *testing.T) {
	t.Parallel()
	_, _, ask := limited(t, settings.Limits{Agent: &settings.RateLimit{Rate: 1, Burst: 1}}, func(o *Options) { o.DryRun = true })
	if d := cmp.Diff([]int{200, 429}, statuses(ask, nil, 2)); d != "" {
		t.Error(d)
	}
}

func TestLimitsForGRPC(t *testing.T) {
	t.Parallel()
	e, _, _ := limited(t, settings.Limits{Agent: &settings.RateLimit{Rate: 1, Burst: 1}})
	in := request("POST", "/orders/1", "authorization", "Bearer "+e.signer(t)(nil), "content-type", "application/grpc")
	e.ask(t, in)
	m, err := e.Check(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, m); m.GetStatus().GetCode() != 8 || got.headers["grpc-status"] != "8" || got.headers["content-type"] != "" || !strings.HasPrefix(m.GetDeniedResponse().GetBody(), "agent_limit: ") {
		t.Errorf("%v", m)
	}
}

// Metadata costs Envoy per byte: limits are in it when somebody asked for them.
func TestLimitsInMetadata(t *testing.T) {
	t.Parallel()
	quota := func(n float64, unit string) map[string]any {
		return map[string]any{"requests_per_unit": n, "unit": unit}
	}
	for name, c := range map[string]struct {
		limits settings.Limits
		want   map[string]any
	}{
		"not asked for":   {settings.Limits{Organization: &settings.RateLimit{Rate: 10, Burst: 10}, Agent: &settings.RateLimit{Rate: 2, Burst: 2}}, map[string]any{}},
		"both":            {settings.Limits{Organization: &settings.RateLimit{Rate: 10, Burst: 10}, Agent: &settings.RateLimit{Rate: 0.5, Burst: 2}, Metadata: true}, map[string]any{"organization_limit": quota(10, "SECOND"), "agent_limit": quota(30, "MINUTE")}},
		"by name":         {settings.Limits{Organization: &settings.RateLimit{Rate: 10, Burst: 10}, Organizations: map[string]settings.RateLimit{"org_a": {Rate: 0.01, Burst: 1}}, Metadata: true}, map[string]any{"organization_limit": quota(36, "HOUR")}},
		"of no other":     {settings.Limits{Organizations: map[string]settings.RateLimit{"org_b": {Rate: 1, Burst: 1}}, Metadata: true}, map[string]any{}},
		"no whole number": {settings.Limits{Agent: &settings.RateLimit{Rate: 1.0 / 7, Burst: 1}, Metadata: true}, map[string]any{"agent_limit": quota(12343, "DAY")}},
	} {
		e, _, _ := limited(t, c.limits)
		m, err := e.Check(context.Background(), request("GET", "/orders/1", "authorization", "Bearer "+e.signer(t)(nil)))
		if err != nil || m.GetOkResponse() == nil {
			t.Fatal(m, err)
		}
		got := m.GetDynamicMetadata().AsMap()
		delete(got, "decision_id")
		c.want["agent_id"], c.want["organization_id"] = "agt_1", "org_a"
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if q := quotaOf(1e6); q != (checkresp.Quota{Requests: 1_000_000, Unit: "SECOND"}) {
		t.Errorf("%+v", q)
	}
}

func quotaOf(rate float64) checkresp.Quota { return quota(ratelimit.Limit{Rate: rate, Burst: 1}) }

func TestLimitMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	_, _, ask := limited(t, settings.Limits{Agent: &settings.RateLimit{Rate: 1, Burst: 1}, Organization: &settings.RateLimit{Rate: 9, Burst: 9}}, func(o *Options) { o.Registerer = registry })
	for n := range 3 {
		ask(map[string]any{"sub": fmt.Sprint("agt_", n)})
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "agentidp_extauthz_limit_") {
			for _, m := range f.GetMetric() {
				got[strings.TrimPrefix(f.GetName(), "agentidp_extauthz_limit_")+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	if d := cmp.Diff(map[string]float64{"buckets agent": 3, "buckets organization": 1, "shared_total agent": 0, "shared_total organization": 0}, got); d != "" {
		t.Error(d)
	}
}

func TestLimitsAllocateNothing(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	allocations := func(l *settings.Limits) float64 {
		e := newEdge(t, ordersPolicy, func(o *Options) { withDecisionCache(o); o.Limits = l })
		check := usual(t, e.signer(t)(nil))
		e.warm(t, check)
		return testing.AllocsPerRun(200, func() {
			if !e.Server.Check(context.Background(), check).Allowed() {
				t.Fatal("denied")
			}
		})
	}
	most := settings.RateLimit{Rate: 1e6, Burst: 1e6}
	without, with := allocations(nil), allocations(&settings.Limits{Organization: &most, Agent: &most, Enforce: true, Metadata: true})
	if with > without+raceAllocations {
		t.Errorf("%v allocations with limits, %v without", with, without)
	}
}
