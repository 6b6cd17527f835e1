package settings

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigOfOrganizations(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	for name, text := range map[string]string{
		"orgs/org_a/a.rego":      "package agentidp.org\n\ndecision := true\n",
		"orgs/org_b/sub/b.rego":  "package agentidp.org\n\ndecision := nowhere(1)\n",
		"orgs/org_c/c.rego":      "package elsewhere\n\ndecision := true\n",
		"stray/a.rego":           "package agentidp.org\n\ndecision := true\n",
		"stray/org d/a.rego":     "package agentidp.org\n\ndecision := true\n",
		"policies/inner/a.rego":  "package inner\n",
		"good/org_a/policy.rego": "package agentidp.org\n\ndecision := true\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := func(policy, more string) string {
		return strings.Replace(minimal, "policy: {dir: ./policies}", "policy: {dir: ./policies, organizations: "+policy+"}", 1) + more
	}
	cfg, err := loadConfig(t, dir, text("{dir: orgs}", ""))
	if err != nil {
		t.Fatalf("a broken policy of one organization keeps the process from starting: %v", err)
	}
	want := &OrganizationPolicies{Dir: cfg.Policy.Organizations.Dir, Path: "agentidp/org/decision", Max: 100, Bytes: 64 << 20, Workers: max(1, runtime.GOMAXPROCS(0)/2)}
	want.Timeout.Duration = policyTimeoutDefault
	if d := cmp.Diff(want, cfg.Policy.Organizations); d != "" {
		t.Error(d)
	}
	problems := strings.Join(cfg.CheckOrganizations(), "\n")
	for _, want := range []string{
		"policy.organizations: " + filepath.Join(dir, "orgs/org_b/sub/b.rego") + ":3: undefined function nowhere",
		"policy.organizations: " + filepath.Join(dir, "orgs/org_c") + `: no rule at decision path "agentidp/org/decision"; packages found: elsewhere`,
	} {
		if !strings.Contains(problems, want) {
			t.Errorf("%q is not in %s", want, problems)
		}
	}
	if strings.Contains(problems, "org_a") || strings.Count(problems, "\n") != 1 {
		t.Errorf("problems: %s", problems)
	}
	for mistake, want := range map[string]string{
		text("{}", ""):                                 "policy.organizations.dir: is required",
		text("{dir: nowhere}", ""):                     "policy.organizations.dir: ",
		text("{dir: policies/inner}", ""):              "policy.organizations.dir: lies in policy.dir",
		text("{dir: .}", ""):                           "policy.organizations.dir: lies in policy.dir",
		text("{dir: stray}", ""):                       "a.rego: is in no folder",
		text("{dir: good, path: /a}", ""):              "policy.organizations.path: want names separated by single slashes",
		text("{dir: good, timeout: 190ms}", ""):        "policy.organizations.timeout: want more than 0 and, with policy.timeout, at most 200ms",
		text("{dir: good, max: 0}", ""):                "policy.organizations.max: want 1 to 10000",
		text("{dir: good, bytes: 1KiB}", ""):           "policy.organizations.bytes: want at least 1MiB",
		text("{dir: good, workers: 65}", ""):           "policy.organizations.workers: want 1 to 64",
		text("{dir: good, headers: [x-agent-id]}", ""): "policy.organizations.headers[0]: a header the policy may not touch",
		text("{dir: good, headers: [X-Tier]}", ""):     "policy.organizations.headers[0]: want the name in lower case",
		text("{dir: good, headers: [x-a, x-a]}", ""):   "policy.organizations.headers[1]: is listed twice",
		text("{dir: good, headers: [\"a b\"]}", ""):    "policy.organizations.headers[0]: not a header name",
		text("{dir: good, pach: a}", ""):               "pach: unknown key",
		text("{dir: good}", "identity: policy\n"):      "policy.organizations: needs callers whose tokens were verified",
		text("{dir: stray, max: 10001}", ""):           "no organization has such an id",
	} {
		_, err := loadConfig(t, dir, mistake)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", mistake, err, want)
		}
	}
}
