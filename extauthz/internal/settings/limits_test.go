package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigOfLimits(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	cfg, err := loadConfig(t, dir, minimal+"limits: {organization: {rate: 100, burst: 200}, organizations: {org_a: {rate: 0.5, burst: 10}}, agent: {rate: 20, burst: 40}}\n")
	if err != nil {
		t.Fatal(err)
	}
	want := &Limits{Organization: &RateLimit{100, 200}, Organizations: map[string]RateLimit{"org_a": {0.5, 10}}, Agent: &RateLimit{20, 40}, Enforce: true}
	if d := cmp.Diff(want, cfg.Limits); d != "" {
		t.Error(d)
	}
	for line, mistakes := range map[string][]string{
		"limits: {}": {"limits: want at least one of organization, organizations and agent"},
		"limits: {agent: {rate: 1, burst: 1}, enforce: false}":    {"limits.enforce: is false, and metadata is too: then nothing is done with the limits"},
		"limits: {agent: {burst: 1}}":                             {"limits.agent: want a rate between 0.01 and 1000000 requests a second"},
		"limits: {agent: {rate: 1}}":                              {"limits.agent: want a burst between 1 and 1000000 requests"},
		"limits: {organization: {rate: 1, burst: 4000}}":          {"limits.organization: want at most 1h until the burst is there again (burst divided by rate)"},
		"limits: {organizations: {org_a: {rate: -1, burst: 1}}}":  {"limits.organizations.org_a: want a rate between 0.01 and 1000000 requests a second"},
		"limits: {organizations: {\"a b\": {rate: 1, burst: 1}}}": {`limits.organizations: "a b": want visible ASCII without spaces`},
	} {
		wantMistakes(t, dir, line, mistakes)
	}
	if _, err := loadConfig(t, dir, "listen: unix:///run/agentidp/extauthz.sock\nidentity: policy\npolicy: {dir: ./policies}\nlimits: {agent: {rate: 1, burst: 1}}\n"); err == nil || !strings.Contains(err.Error(), "extauthz.yaml:4: limits: need an identity") {
		t.Errorf("%v", err)
	}
}
