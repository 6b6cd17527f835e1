package settings

import (
	"testing"
)

func TestConfigOfObservers(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	cfg, err := loadConfig(t, dir, minimal+"metrics: {listen: \"127.0.0.1:0\"}\nexplain: {bytes: 4MiB}\nshadow: {dir: broken, organizations: {org_a: {percent: 50}}}\ndecisionLog: {stdout: true}\n")
	if err != nil {
		t.Fatalf("a broken candidate keeps the process from starting: %v", err)
	}
	if cfg.Explain.Bytes != 4<<20 || cfg.Shadow.Percent != 10 {
		t.Errorf("got %+v, %+v", cfg.Explain, cfg.Shadow)
	}
	for text, want := range map[string][]string{
		"explain: {bytes: 1KiB}": {"explain: needs metrics.listen: that is where it answers", "explain.bytes: want between 64KiB and 256MiB, such as 4MiB"},
		"shadow: {percent: 0}":   {"shadow: needs decisionLog: that is where disagreements go", "shadow.dir: is required, or a dir of one of shadow.organizations", "shadow.percent: want a number above 0, up to 100; 0 is for comparing only what shadow.organizations names"},
		"decisionLog: {stdout: true}\nshadow: {dir: policies}": {
			"shadow.dir: is the policy in force: there is nothing to compare",
		},
		"decisionLog: {stdout: true}\nshadow: {dir: broken, percent: 101, path: /a, organizations: {\"a b\": {}, org_a: {percent: 101, dir: x}}}": {
			`shadow.organizations: "a b": want visible ASCII without spaces`, "shadow.organizations.org_a.percent: want a number of 0 (none) to 100",
			"shadow.organizations.org_a.dir: needs policy.organizations: it is a candidate for the organization's own policy", "shadow.path: want names separated by single slashes, as in agentidp/authz/allow",
			"shadow.percent: want a number above 0, up to 100; 0 is for comparing only what shadow.organizations names",
		},
	} {
		wantMistakes(t, dir, text, want)
	}
}
