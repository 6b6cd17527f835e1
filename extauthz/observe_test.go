package extauthz

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/explain"
	"github.com/agentidp/agentidp/extauthz/internal/shadow"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/policy"
)

func awaitTrue(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-limit:
			t.Fatalf("still not: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// hostileCandidates must not change one answer.
var hostileCandidates = map[string]string{
	"allows everything": "package agentidp.authz\nallow := true\n",
	"denies everything": "package agentidp.authz\nallow := false\n",
	"never ends":        "package agentidp.authz\nallow if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i + j == -1 }\n",
	"is undefined":      "package agentidp.authz\nallow if input.nothing\n",
	"is malformed":      "package agentidp.authz\nallow := {\"allowed\": \"yes\", \"headers\": {\"x-agent-id\": \"forged\"}}\n",
}

func TestShadowChangesNoAnswer(t *testing.T) {
	t.Parallel()
	questions := []struct {
		path   string
		bearer bool
		status int
	}{{"/orders", true, 200}, {"/orders", false, 401}, {"/elsewhere", true, 403}, {"/healthz", false, 200}, {"/broken", false, 503}, {"/a%2fb", true, 400}}
	for name, source := range hostileCandidates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compared, err := shadow.New(shadow.Config{Percent: 100})
			if err != nil {
				t.Fatal(err)
			}
			defer compared.Close()
			p, err := policy.Compile(context.Background(), []policy.Source{{Name: "c.rego", Data: []byte(source)}}, policy.Config{Path: "agentidp/authz/allow", Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			compared.Candidate().Store(p)
			e := newEdge(t, ordersPolicy, func(o *Options) { o.Shadow = compared })
			token := e.signer(t)(nil)
			for range 20 {
				for _, q := range questions {
					var headers []string
					if q.bearer {
						headers = []string{"authorization", "Bearer " + token}
					}
					if a := e.ask(t, request("GET", q.path, headers...)); a.status != q.status || a.headers["x-agent-id"] == "forged" {
						t.Fatalf("%s: %+v, want %d", q.path, a, q.status)
					}
				}
			}
		})
	}
}

// One decision, from the request to what an operator reads about it: the log line, the disagreement, the explanation.
func TestDecisionIsLoggedComparedAndExplained(t *testing.T) {
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
	compared.Candidate().Store(compile(t, "package agentidp.authz\nallow := false\n", false))
	keeper := explain.New(1<<20, nil)
	defer keeper.Close()
	e := newEdge(t, ordersPolicy, func(o *Options) { o.DecisionLog, o.Shadow, o.Explain = log, compared, keeper })
	token := e.signer(t)(nil)
	answer := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token))
	if answer.status != 200 {
		t.Fatalf("%+v", answer)
	}
	mux := http.NewServeMux()
	mux.Handle(explain.Route, keeper)
	var page string
	awaitTrue(t, "kept", func() bool {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/decision/"+answer.id, nil))
		page = w.Body.String()
		return w.Code == http.StatusOK && !strings.Contains(page, policy.ErrOverloaded.Error()) // the comparison is being traced, too
	})
	for _, want := range []string{`"result": "allowed"`, `"snapshot_epoch": 5`, `"policy_revision": "` + e.store.Load().Policy.Revision() + `"`, `"issuer": "` + josetest.Issuer + `"`, `"keys": 1`, `"agrees": true`, `"rule": "data.agentidp.authz.allow"`, `"file": "authz.rego"`, `"line": 4`, `"organizationId": "org_a"`} {
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
	if strings.Contains(out.String()+page, strings.Split(token, ".")[2]) {
		t.Error("the token can be read")
	}
	if n := strings.Count(out.String(), answer.id); n != 2 || strings.Count(out.String(), `"type":"shadow"`) != 1 {
		t.Errorf("log: %s", out.String())
	}
}
