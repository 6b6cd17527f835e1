package extauthz

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/explain"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/shadow"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
	"github.com/agentidp/agentidp/internal/policy"
)

// orgEdge is an edge whose organizations have policies.
type orgEdge struct {
	*edge
	set  *orgpolicy.Set
	dir  string
	sign func(claims map[string]any) string
}

const orgHead = "package agentidp.org\nimport rego.v1\n"

const orgPath = "agentidp/org/decision"

// newOrgEdge has one policy for each organization named, and tokens of any organization.
func newOrgEdge(t testing.TB, mesh string, policies map[string]string, change func(*Options)) *orgEdge {
	t.Helper()
	e := &orgEdge{dir: t.TempDir()}
	for id, source := range policies {
		e.write(t, id, source)
	}
	e.set = orgpolicy.New(orgpolicy.Config{
		Dir: e.dir, Policy: policy.Config{Path: orgPath, EvalTimeout: 2 * time.Second, Workers: 1}, Max: 100, BytesMax: 64 << 20,
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	t.Cleanup(e.set.Close)
	if err := e.set.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.edge = newEdge(t, mesh, func(o *Options) {
		o.Organizations, o.OrganizationPath, o.OrganizationHeaders = e.set, orgPath, []string{"x-tier"}
		if change != nil {
			change(o)
		}
	})
	e.sign = e.signer(t)
	e.changeIssuer(func(i *state.Issuer) { i.OrganizationID = "" })
	return e
}

func (e *orgEdge) write(t testing.TB, id, source string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(e.dir, id), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.dir, id, "org.rego"), []byte(orgHead+source), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load waits until it is known what the policy of an organization is, so that a busy machine changes no answer.
func (e *orgEdge) load(t testing.TB, id string) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		if _, err := e.set.Find(id).Await(context.Background()); !errors.Is(err, orgpolicy.ErrLoading) {
			return
		}
	}
	t.Fatalf("the policy of %s is not compiled", id)
}

func (e *orgEdge) get(t testing.TB, org, path string) answer {
	t.Helper()
	if e.set.Find(org) != nil {
		e.load(t, org)
	}
	return e.ask(t, request("GET", path, "authorization", "Bearer "+e.sign(map[string]any{"org_id": org, "scope": "orders.read"})))
}

// reasonCount is how often a reason was counted.
func (e *orgEdge) reasonCount(result, reason string) float64 {
	return testutil.ToFloat64(e.metrics.decisions.WithLabelValues(result, reason))
}

// Both must allow. What the second one may change is less than what the first one may.
func TestOrganizationNarrows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy string
		path   string // "" is /orders
		status int
		code   string
		result string
		reason string
		header map[string]string
	}{
		"both allow":        {policy: "decision := true", status: 200, result: "allowed", reason: "allowed"},
		"it denies":         {policy: "decision := false", status: 403, code: "organization_denied", result: "denied", reason: "organization_denied"},
		"it says why":       {policy: `decision := {"allowed": false, "http_status": 402, "reason": {"code": "no_budget"}}`, status: 402, code: "no_budget", result: "denied", reason: "organization_denied"},
		"the mesh denies":   {policy: "decision := true", path: "/elsewhere", status: 403, code: "insufficient_scope", result: "denied", reason: "policy_denied"},
		"the mesh fails":    {policy: "decision := true", path: "/forging", status: 503, code: "cannot_decide", result: "undecided", reason: "policy_decision"},
		"a header it may":   {policy: `decision := {"allowed": true, "headers": {"x-tier": "gold"}}`, status: 200, result: "allowed", reason: "allowed", header: map[string]string{"x-tier": "gold"}},
		"a header it sees":  {policy: `decision := {"allowed": true, "headers": {"x-tier": input.attributes.request.http.headers.authorization}}`, status: 200, result: "allowed", reason: "allowed", header: map[string]string{"x-tier": "Bearer [masked]"}},
		"another header":    {policy: `decision := {"allowed": true, "headers": {"x-role": "admin"}}`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"the mesh's header": {policy: `decision := {"allowed": true, "headers": {"x-tenant": "org_z"}}`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"an identity":       {policy: `decision := {"allowed": true, "headers": {"x-agent-id": "agt_2"}}`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"removes a header":  {policy: `decision := {"allowed": true, "request_headers_to_remove": ["x-forwarded-for"]}`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"a query parameter": {policy: `decision := {"allowed": true, "query_parameters_to_set": {"account": "2"}}`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"drops a parameter": {policy: `decision := {"allowed": true, "query_parameters_to_remove": ["dry"]}`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"no decision":       {policy: "decision if input.nothing", status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_undefined"},
		"no boolean":        {policy: `decision := "yes"`, status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_decision"},
		"an error":          {policy: "decision := true if input.parsed_path\ndecision := false if input.identity", status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_failed"},
		"does not compile":  {policy: "decision := nowhere(1)", status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_broken"},
		"reads tokens":      {policy: "decision if io.jwt.decode(input.token)", status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_broken"},
		"another's data":    {policy: "decision if data.agentidp.authz.allow", status: 503, code: "cannot_decide", result: "undecided", reason: "organization_policy_undefined"},
	} {
		for _, cached := range []string{"evaluated", "remembered"} {
			t.Run(name+"/"+cached, func(t *testing.T) {
				t.Parallel()
				e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": c.policy}, func(o *Options) {
					o.View.ShowToken = true // to the mesh policy
					if cached == "remembered" {
						withDecisionCache(o)
					}
				})
				path := c.path
				if path == "" {
					path = "/orders"
				}
				for range 3 { // the second may be remembered
					got := e.get(t, "org_a", path)
					if got.status != c.status || got.code != c.code {
						t.Fatalf("got %+v", got)
					}
					for name, value := range c.header {
						if got.headers[name] != value {
							t.Errorf("%s: %q", name, got.headers[name])
						}
					}
					if c.status == 200 && got.headers["x-tenant"] != "org_a" {
						t.Errorf("the mesh policy's header is gone: %v", got.headers)
					}
					if c.status == 503 && got.headers["retry-after"] == "" {
						t.Error("503 without Retry-After")
					}
					// No other organization is concerned, with a policy or without.
					if other := e.get(t, "org_b", "/orders"); other.status != 200 {
						t.Errorf("another organization gets %+v", other)
					}
				}
				if n := e.reasonCount(c.result, c.reason); n < 3 {
					t.Errorf("%s, %s was counted %v times", c.result, c.reason, n)
				}
			})
		}
	}
}

// Only verified callers have an organization whose policy could be asked.
func TestOrganizationOfNobody(t *testing.T) {
	t.Parallel()
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": "decision := false"}, func(o *Options) { o.Identity = settings.IdentityOptional })
	for _, path := range []string{"/healthz", "/open"} {
		if got := e.ask(t, request("GET", path)); got.status != 200 {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// A call whose policy is not compiled is not held up on the goroutine that reads the connection, and nothing is compiled there.
func TestCompilingIsPostponed(t *testing.T) {
	t.Parallel()
	e := newOrgEdge(t, denyingNothing, nil, withDecisionCache)
	check := usual(t, e.sign(nil))
	e.warm(t, check)
	ask := func() (allowed bool, open *call) {
		answer, open := e.checkRemembered(t.Context(), &unary.Call{Message: check})
		return answer.Allowed(), open
	}
	if allowed, open := ask(); open != nil || !allowed {
		t.Fatal("token and decision are remembered, and the answer takes work")
	}
	e.write(t, "org_a", "decision := false")
	if err := e.set.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, open := ask()
	if open == nil {
		t.Fatal("answered at once, before the organization was asked")
	}
	if p, err := e.set.Find("org_a").InForce(time.Now()); p != nil || err != nil {
		t.Errorf("it is compiled: %v, %v", p, err)
	}
	e.load(t, "org_a")
	if e.checkOn(t.Context(), open).Allowed() {
		t.Error("the organization's denial was not heard")
	}
	awaitTrue(t, "both decisions are remembered", func() bool {
		allowed, open := ask()
		if allowed {
			t.Fatal("allowed")
		}
		if open != nil {
			e.checkOn(t.Context(), open)
		}
		return open == nil
	})
}

// What cannot wait for the compiler is not decided, and comes again.
func TestOrganizationIsLoading(t *testing.T) {
	t.Parallel()
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": "decision := true"}, nil)
	e.set.Close() // from now on nothing is compiled
	got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+e.sign(nil)))
	if got.status != 503 || got.code != "cannot_decide" || got.headers["retry-after"] == "" || e.reasonCount("undecided", "organization_policy_loading") != 1 {
		t.Errorf("got %+v", got)
	}
}

// An edit of one organization's folder ends what is remembered of it, and of nobody else.
func TestOrganizationEditsAreFollowed(t *testing.T) {
	t.Parallel()
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": "decision := true", "org_b": "decision := true"}, withDecisionCache)
	for range 3 {
		if got := e.get(t, "org_a", "/orders"); got.status != 200 {
			t.Fatalf("got %+v", got)
		}
	}
	e.write(t, "org_a", `decision := input.parsed_path[1] != "7"`)
	awaitTrue(t, "the edit is in force", func() bool { return e.get(t, "org_a", "/orders/7").status == 403 })
	if got := e.get(t, "org_a", "/orders/8"); got.status != 200 {
		t.Errorf("what the organization reads is not in the key: %+v", got)
	}
	if got := e.get(t, "org_b", "/orders/7"); got.status != 200 {
		t.Errorf("another organization: %+v", got)
	}
	e.write(t, "org_a", "decision if {\n")
	for range 20 {
		if got := e.get(t, "org_a", "/orders/7"); got.status != 403 {
			t.Fatalf("a broken edit: %+v", got)
		}
	}
}

func TestOrganizationsInADryRun(t *testing.T) {
	t.Parallel()
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": "decision := false", "org_b": "decision := nowhere(1)"}, func(o *Options) { o.DryRun = true })
	for org, reason := range map[string][2]string{"org_a": {"denied", "organization_denied"}, "org_b": {"undecided", "organization_policy_broken"}} {
		if got := e.get(t, org, "/orders"); got.status != 200 || got.headers["x-tenant"] != "" || e.reasonCount(reason[0], reason[1]) != 1 {
			t.Errorf("%s: %+v", org, got)
		}
	}
}

// The log says which policy denied, the candidate is compared with the mesh policy, and both are explained.
func TestOrganizationIsLoggedAndExplained(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1})
	registry := prometheus.NewRegistry()
	metrics, err := shadow.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	compared, err := shadow.New(shadow.Config{Path: "agentidp/authz/allow", Percent: 100, Log: log, Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	compared.Candidate().Store(compile(t, ordersPolicy, false))
	keeper := explain.New(1<<20, nil)
	defer keeper.Close()
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": `decision := {"allowed": false, "reason": {"code": "no_budget"}}`}, func(o *Options) {
		o.DecisionLog, o.Shadow, o.Explain = log, compared, keeper
		keeper.Organizations(o.Organizations.Resident)
	})
	denied := e.get(t, "org_a", "/orders")
	if denied.status != 403 || denied.code != "no_budget" {
		t.Fatalf("%+v", denied)
	}
	mux := http.NewServeMux()
	mux.Handle(explain.Route, keeper)
	var page string
	awaitTrue(t, "kept", func() bool {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/decision/"+denied.id, nil))
		page = w.Body.String()
		return w.Code == http.StatusOK && !strings.Contains(page, policy.ErrOverloaded.Error()) && strings.Contains(page, "organization_explanation")
	})
	for _, want := range []string{`"result": "denied"`, `"reason": "organization_denied"`, `"id": "org_a"`, `"reason_code": "no_budget"`, `"rule": "data.agentidp.org.decision"`, `"rule": "data.agentidp.authz.allow"`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not in %s", want, page)
		}
	}
	awaitTrue(t, "compared", func() bool {
		n, err := testutil.GatherAndCount(registry, "agentidp_extauthz_shadow_decisions_total")
		return err == nil && n == 1
	})
	compared.Close()
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	line := out.String()
	if strings.Contains(line, `"type":"shadow"`) {
		t.Errorf("the candidate is compared with the organization's decision: %s", line)
	}
	for _, want := range []string{
		`"path":"agentidp/authz/allow"`, `"result":{"allowed":true,`, `"reason":"organization_denied"`, `"organization":{"revision":"`,
		`"organization":{"id":"org_a","path":"agentidp/org/decision","result":"denied","reason_code":"no_budget","decision":{"allowed":false,`,
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is not in %s", want, line)
		}
	}
}

// Metadata of an organization is under a name of its own: no filter or log takes it for the mesh policy's.
func TestOrganizationMetadata(t *testing.T) {
	t.Parallel()
	mesh := "package agentidp.authz\nallow := {\"allowed\": true, \"dynamic_metadata\": {\"plan\": \"basic\"}}\n"
	for _, allowed := range []string{"true", "false"} {
		e := newOrgEdge(t, mesh, map[string]string{"org_a": `decision := {"allowed": ` + allowed + `, "dynamic_metadata": {"plan": "gold", "organization_id": "org_z"}}`}, nil)
		e.load(t, "org_a")
		m, err := e.Check(t.Context(), request("GET", "/orders", "authorization", "Bearer "+e.sign(nil)))
		if err != nil {
			t.Fatal(err)
		}
		got := m.GetDynamicMetadata().AsMap()
		delete(got, "decision_id")
		want := map[string]any{"organization_policy": map[string]any{"plan": "gold", "organization_id": "org_z"}}
		if allowed == "true" {
			want["plan"], want["agent_id"], want["organization_id"] = "basic", "agt_1", "org_a"
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("allowed %s: %s", allowed, d)
		}
	}
}

// A policy of an organization costs no allocation where it changes nothing.
func TestWarmCheckAllocationsWithOrganization(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": `decision := input.parsed_path[1] != "7"`}, withDecisionCache)
	check := usual(t, e.sign(nil))
	e.load(t, "org_a")
	e.warm(t, check)
	e.warm(t, check)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	allocations := testing.AllocsPerRun(200, func() {
		if !e.Server.Check(ctx, check).Allowed() {
			t.Fatal("not allowed")
		}
	})
	t.Logf("%v allocations", allocations)
	if allocations > warmAllocationsMax {
		t.Errorf("%v allocations, want at most %d", allocations, warmAllocationsMax)
	}
}

func BenchmarkCheckWithOrganization(b *testing.B) {
	e := newOrgEdge(b, ordersPolicy, map[string]string{"org_a": `decision := input.parsed_path[1] != "7"`}, withDecisionCache)
	check := usual(b, e.sign(map[string]any{"pad": strings.Repeat("p", 150)}))
	e.load(b, "org_a")
	e.warm(b, check)
	b.ReportAllocs()
	for b.Loop() {
		if !e.Server.Check(context.Background(), check).Allowed() {
			b.Fatal("denied")
		}
	}
}
