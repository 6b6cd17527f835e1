package extauthz_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/extauthz"
	"github.com/agentidp/agentidp/internal/config"
)

const routedPolicy = edgePolicy + `
default admin := false

admin if {
	input.attributes.request.http.method == "GET"
	"admin" in input.identity.scopes
}
`

// routesWithPaths are routes that name their decision: a good one, one nobody configured, none at all.
const routesWithPaths = `routes:
                        - match: { prefix: "/admin" }
                          route: { cluster: service }
                          typed_per_filter_config: { envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: { context_extensions: { agentidp.policy_path: agentidp/authz/admin } } } }
                        - match: { prefix: "/unlisted" }
                          route: { cluster: service }
                          typed_per_filter_config: { envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: { context_extensions: { agentidp.policy_path: agentidp/authz } } } }
                        - match: { prefix: "/empty" }
                          route: { cluster: service }
                          typed_per_filter_config: { envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: { context_extensions: { agentidp.policy_path: "" } } } }
                        - match: { prefix: "/others" }
                          route: { cluster: service }
                          typed_per_filter_config: { envoy.filters.http.ext_authz: { "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: { context_extensions: { tier: gold } } } }
`

// A route may name its decision, from a list the operator wrote. Nothing that a client sends names one, and a name that is not in the list
// lets nothing pass, not even in a dry run.
func TestEdgeDecisionPerRoute(t *testing.T) {
	t.Parallel()
	for _, dryRun := range []bool{false, true} {
		t.Run(fmt.Sprintf("dry run %v", dryRun), func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, fmt.Sprintf("policy: {dir: policies, timeout: 200ms, routePaths: [agentidp/authz/admin], dryRun: %v}\ndecisionLog: {stdout: true}\n", dryRun))
			e.write(t, "policies/authz.rego", routedPolicy)
			e.startHere(t)
			e.startEnvoy(t, func(doc string) string {
				return replaceOnce(t, doc, "routes:\n", routesWithPaths)
			})
			denied := map[bool]int{false: http.StatusForbidden, true: http.StatusOK}[dryRun]
			reader, admin := e.bearer(t), e.bearer(t, "scope", "admin")
			e.await(t, http.StatusOK, "/orders/1", reader)
			for range 3 { // remembered or not
				for _, tc := range []struct {
					target, bearer string
					status         int
				}{
					{"/admin", admin, http.StatusOK},
					{"/admin", reader, denied},
					{"/orders/1", reader, http.StatusOK},
					{"/orders/1", admin, denied},
					{"/others", admin, denied},
					{"/unlisted", admin, http.StatusServiceUnavailable},
					{"/empty", admin, http.StatusServiceUnavailable},
				} {
					a := e.get(t, tc.target, tc.bearer, "agentidp.policy-path: agentidp/authz/allow", "x-envoy-context-extensions: agentidp.policy_path=agentidp/authz/admin")
					if a.Status != tc.status {
						t.Errorf("%s: status %d, want %d", tc.target, a.Status, tc.status)
					}
				}
			}
			for _, path := range []string{"agentidp/authz/admin", "agentidp/authz/allow"} {
				awaitThat(t, path+" is in the decision log", func() bool { return strings.Contains(e.log.String(), `"path":"`+path+`"`) })
			}
		})
	}
}

func TestRoutePathsAreChecked(t *testing.T) {
	t.Parallel()
	for paths, want := range map[string]string{
		"[agentidp/authz/none]":                        "agentidp/authz/none",
		"[agentidp/authz/admin, agentidp/authz/admin]": "policy.routePaths[1]: the same path twice",
		"[agentidp/authz/allow]":                       "policy.routePaths[0]: the same path twice, or that of policy.path",
		"[''" + strings.Repeat(", ''", 16) + "]":       "policy.routePaths: has 17 entries",
	} {
		e := newEdge(t, "policy: {dir: policies, routePaths: "+paths+"}\n")
		e.write(t, "policies/authz.rego", routedPolicy)
		var cfg extauthz.Config
		if err := config.Load(e.dir+"/extauthz.yaml", &cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", paths, err, want)
		}
	}
}
