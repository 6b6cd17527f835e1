package extauthz

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// A policy in a dry run denies nothing; everything before the policy still does.
func TestDryRun(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, func(o *Options) { o.DryRun = true })
	sign := e.signer(t)
	good := "Bearer " + sign(nil)
	for name, c := range map[string]struct {
		path    string
		headers []string
		status  int
		tenant  string // what the policy sets when it allows
	}{
		"the policy allows":     {"/orders", []string{"authorization", good}, 200, "org_a"},
		"the policy denies":     {"/orders", []string{"authorization", "Bearer " + sign(map[string]any{"scope": ""})}, 200, ""},
		"the policy is broken":  {"/broken", nil, 200, ""},
		"the policy forges":     {"/forging", []string{"authorization", good}, 200, ""},
		"no token":              {"/orders", nil, 401, ""},
		"a bad token":           {"/orders", []string{"authorization", good[:len(good)-6] + "AAAAAA"}, 401, ""},
		"an expired token":      {"/orders", []string{"authorization", "Bearer " + sign(map[string]any{"exp": josetest.Now().Unix() - 60, "iat": josetest.Now().Unix() - 90})}, 401, ""},
		"two tokens":            {"/orders", []string{"authorization", good, "authorization", good}, 400, ""},
		"a path in two meaning": {"/orders/../admin", []string{"authorization", good}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := e.ask(t, request("GET", c.path, append(c.headers, "x-agent-id", "forged", "x-agent-role", "admin")...))
			if got.status != c.status || got.headers["x-tenant"] != c.tenant {
				t.Fatalf("got %+v", got)
			}
			if c.status != 200 {
				return
			}
			if who, want := got.headers["x-agent-id"], map[bool]string{true: "agt_1"}[c.headers != nil]; who != want {
				t.Errorf("the service is told %q", who)
			}
			if removed := map[bool][]string{true: {"x-agent-role"}, false: {"x-agent-id", "x-agent-role"}}[c.headers != nil]; cmp.Diff(removed, got.removed) != "" {
				t.Errorf("removed %v", got.removed)
			}
		})
	}
}

// Without a policy there is nothing to rehearse, and a call that is late or panics is no decision of the policy.
func TestDryRunIsNotFailOpen(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "package agentidp.authz\nallow := false\n", func(o *Options) { o.DryRun = true; o.Identity = settings.IdentityOptional })
	if got := e.ask(t, request("GET", "/x")); got.status != 200 {
		t.Fatalf("got %+v", got)
	}
	inForce := e.store.Load().Policy
	for name, change := range map[string]func(){
		"no policy": func() { e.setPolicy(nil) },
		"a panic":   func() { e.setPolicy(inForce); e.stages.decide = nil },
	} {
		change()
		if got := e.ask(t, request("GET", "/x")); got.status != 503 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Nobody can forget that it is on: a gauge, a counter, and every line of the decision log say so.
func TestDryRunIsSeen(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		var out bytes.Buffer
		log, registry := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1}), prometheus.NewRegistry()
		e := newEdge(t, ordersPolicy, func(o *Options) { o.DryRun, o.DecisionLog, o.Registerer = on, log, registry })
		for _, path := range []string{"/healthz", "/broken"} {
			e.ask(t, request("GET", path))
		}
		if err := log.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := "# HELP agentidp_extauthz_dry_run 1 while the policy's denials are not enforced.\n# TYPE agentidp_extauthz_dry_run gauge\nagentidp_extauthz_dry_run 0\n"
		lines := []string{"allowed,false,false", "undecided,false,false"}
		if on {
			want = strings.Replace(want, "run 0", "run 1", 1) +
				"# HELP agentidp_extauthz_dry_run_overruled_total Requests that passed only because of the dry run.\n# TYPE agentidp_extauthz_dry_run_overruled_total counter\nagentidp_extauthz_dry_run_overruled_total 1\n"
			lines = []string{"allowed,true,false", "undecided,true,true"}
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_extauthz_dry_run", "agentidp_extauthz_dry_run_overruled_total"); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(lines, dryRunLines(t, out.String())); d != "" {
			t.Error(d)
		}
	}
}

// dryRunLines is result, dry_run and dry_run_passed of each line.
func dryRunLines(t *testing.T, log string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(log) {
		var event struct {
			Custom struct {
				Result string `json:"result"`
				DryRun bool   `json:"dry_run"`
				Passed bool   `json:"dry_run_passed"`
			}
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		text := map[bool]string{false: ",false", true: ",true"}
		lines = append(lines, event.Custom.Result+text[event.Custom.DryRun]+text[event.Custom.Passed])
	}
	return lines
}
