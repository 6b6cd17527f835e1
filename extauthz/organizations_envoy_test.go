package extauthz_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Policies of two organizations through Envoy: narrowed, edited, broken, new. The other organization never notices.
func TestEdgeOrganizationPolicies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, `policy: {dir: policies, timeout: 100ms, organizations: {dir: orgs, path: org/decision, timeout: 100ms, headers: [x-tier]}}
public: [{method: GET, pathPrefix: /public}]
`)
	const head = "package org\n\ndefault decision := false\n\n"
	e.write(t, "orgs/org_a/a.rego", head+"decision := {\"allowed\": true, \"headers\": {\"x-tier\": \"gold\"}} if input.parsed_path[1] == \"1\"\n")
	e.startHere(t)
	e.startEnvoy(t)
	a, b := e.bearer(t, "org_id", "org_a"), e.bearer(t, "org_id", "org_b")

	e.await(t, http.StatusOK, "/orders/1", a)
	if tier, org := e.service.Values("x-tier"), e.service.Values("x-agent-organization"); !slices.Equal(tier, []string{"gold"}) || !slices.Equal(org, []string{"org_a"}) {
		t.Errorf("the service saw %q, %q", tier, org)
	}
	e.await(t, http.StatusForbidden, "/orders/2", a)
	if doc := problem(t, e.get(t, "/orders/2", a)); doc["code"] != "organization_denied" || !strings.HasSuffix(doc["type"].(string), "#organization_denied") {
		t.Errorf("the denial: %v", doc)
	}
	e.await(t, http.StatusForbidden, "/elsewhere", a)
	e.await(t, http.StatusOK, "/orders/2", b)
	e.await(t, http.StatusOK, "/public")

	e.write(t, "orgs/org_a/a.rego", head+"decision if input.parsed_path[1] == \"2\"\n")
	e.await(t, http.StatusOK, "/orders/2", a)
	e.await(t, http.StatusForbidden, "/orders/1", a)
	e.write(t, "orgs/org_a/a.rego", head+"decision if {\n")
	awaitThat(t, "the log names file and line", func() bool {
		return strings.Contains(e.log.String(), `"organization":"org_a","file":"a.rego","line":6`)
	})
	e.await(t, http.StatusOK, "/orders/2", a)

	e.write(t, "orgs/org_b/b.rego", "package org\n\ndecision := nowhere(1)\n")
	e.await(t, http.StatusServiceUnavailable, "/orders/2", b)
	if answer := e.get(t, "/orders/2", b); answer.Header.Get("Retry-After") == "" || problem(t, answer)["code"] != "cannot_decide" {
		t.Errorf("a policy that never compiled: %+v", answer)
	}
	e.await(t, http.StatusOK, "/orders/2", a)
	e.write(t, "orgs/org_b/b.rego", "package org\n\ndecision := true\n")
	e.await(t, http.StatusOK, "/orders/2", b)
}
