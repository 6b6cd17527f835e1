package extauthz

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/shadow"
	"github.com/agentidp/agentidp/internal/policy"
)

// The candidate for the policy of one organization is compared with that policy's decision, not with the mesh policy's, and nobody else's
// requests are its concern. It changes no answer.
func TestCandidateForAnOrganization(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1})
	registry := prometheus.NewRegistry()
	metrics, err := shadow.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	second, err := shadow.New(shadow.Config{Organization: "org_a", Path: orgPath, Percents: map[string]float64{"org_a": 100}, Log: log, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	source := orgHead + "decision := {\"allowed\": input.parsed_path[0] != \"orders\", \"reason\": {\"code\": \"candidate_says_no\"}}\n"
	candidate, err := policy.Compile(t.Context(), []policy.Source{{Name: "next.rego", Data: []byte(source)}}, policy.Config{Path: orgPath, EvalTimeout: 2 * time.Second, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(candidate.Close)
	second.Candidate().Store(candidate)
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": "decision := true", "org_b": "decision := true"}, func(o *Options) {
		o.DecisionLog, o.OrganizationShadows = log, map[string]*shadow.Shadow{"org_a": second}
	})
	for org, want := range map[string]int{"org_a": 200, "org_b": 200, "org_c": 200} {
		if got := e.get(t, org, "/orders"); got.status != want {
			t.Errorf("%s: %+v", org, got)
		}
	}
	if got := e.get(t, "org_a", "/elsewhere"); got.status != 403 { // by the mesh policy: the organization was not asked, nor is its candidate
		t.Errorf("%+v", got)
	}
	const want = `
# HELP agentidp_extauthz_shadow_decisions_total Decisions a candidate (for the policy of: mesh, organization) was asked about: what was decided (from) and what it would have (to): allowed, denied, undecided.
# TYPE agentidp_extauthz_shadow_decisions_total counter
agentidp_extauthz_shadow_decisions_total{candidate="organization",from="allowed",organization="org_a",to="denied"} 1
`
	awaitTrue(t, "compared", func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_extauthz_shadow_decisions_total") == nil
	})
	second.Close()
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_extauthz_shadow_decisions_total"); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`"type":"shadow"`, `"shadow":{"organization":"org_a","revision":"`, `"path":"agentidp/org/decision","result":"denied"`, `"reason_code":"candidate_says_no"`} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%s is not once in %s", want, out.String())
		}
	}
}
