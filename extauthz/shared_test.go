package extauthz

import (
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/policy/policytest"
)

// An organization whose policy has one thing in a value again and again cannot be decided about; another one's requests are.
func TestSharedValuesOfAnOrganization(t *testing.T) {
	for _, h := range policytest.SharedPack() {
		if !strings.HasPrefix(h.Name, "shared result") && h.Name != "shared equality of rules" && h.Name != "shared marshal" {
			continue
		}
		t.Run(h.Name, func(t *testing.T) {
			h.Body = `input.parsed_path[0] == "orders"; ` + h.Body // or it would not come into force
			source := strings.TrimPrefix(h.Module(), "package t\n")
			source = strings.ReplaceAll(strings.ReplaceAll(source, "input.x", "input.parsed_path"), "allow :=", "decision :=")
			e := newOrgEdge(t, ordersPolicy, map[string]string{"org_a": source, "org_b": "decision := {\"allowed\": true}\n"}, nil)
			if got := e.get(t, "org_a", "/orders").status; got != 503 {
				t.Errorf("status %d, want 503", got)
			}
			if n := e.reasonCount("undecided", "organization_policy_failed"); n != 1 {
				t.Errorf("organization_policy_failed was counted %v times", n)
			}
			if got := e.get(t, "org_b", "/orders").status; got != 200 {
				t.Errorf("another organization: status %d, want 200", got)
			}
		})
	}
}
