package settings

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The configuration of candidates, what is refused of it, and what -check says.
func TestConfigOfShadowsOfOrganizations(t *testing.T) {
	t.Parallel()
	const orgHead = "package agentidp.org\nimport rego.v1\n"
	dir := configDir(t)
	for name, text := range map[string]string{
		"orgs/org_a/a.rego": orgHead + "decision := true\n", "next/org_a/a.rego": orgHead + "decision := false\n", "broken/b.rego": "package agentidp.authz\n\nallow := nowhere(1)\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	withOrganizations := strings.Replace(minimal, "policy: {dir: ./policies", "policy: {organizations: {dir: orgs}, dir: ./policies", 1)
	cfg, err := loadConfig(t, dir, withOrganizations+"decisionLog: {stdout: true}\nshadow: {dir: broken, percent: 0, organizations: {org_a: {percent: 5, dir: next/org_a}, org_b: {percent: 50}}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Shadow.candidates() != 2 || cfg.Shadow.PercentOf("org_a") != 5 || cfg.Shadow.PercentOf("org_b") != 50 || cfg.Shadow.PercentOf("org_c") != 0 {
		t.Errorf("%+v", cfg.Shadow)
	}
	var said bytes.Buffer
	cfg.Describe(&said)
	for _, want := range []string{
		"broken is not asked: ", "next/org_a is asked beside the policy of org_a about 5 % of its decisions\n", "40 MiB shadow\n",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q is not in %s", want, said.String())
		}
	}
	_, err = loadConfig(t, dir, withOrganizations+"decisionLog: {stdout: true}\nshadow: {organizations: {org_a: {dir: orgs/org_a}}}\n")
	if err == nil || !strings.Contains(err.Error(), "shadow.organizations.org_a.dir: is the policy in force: there is nothing to compare") {
		t.Errorf("%v", err)
	}
}
