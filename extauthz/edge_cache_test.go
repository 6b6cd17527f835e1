package extauthz_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// cachePolicy lets each organization do one thing, which is another for each of them.
const cachePolicy = `package agentidp.authz

default allow := false

allow if {
	input.identity.organizationId == "org_a"
	[input.attributes.request.http.method, input.attributes.request.http.host, input.attributes.request.http.path] == ["GET", "a.example", "/orders/1"]
}

allow if {
	input.identity.organizationId == "org_b"
	[input.attributes.request.http.method, input.attributes.request.http.host, input.attributes.request.http.path] == ["DELETE", "b.example", "/orders/1?x"]
}
`

// What is remembered of a token is about the token, and what is remembered of a decision is about all it was decided by: two organizations
// with one key, one key id, one subject and one token id, and requests that differ in a single part, in any order.
func TestEdgeCachesConfuseNothing(t *testing.T) {
	t.Parallel()
	const otherIssuer = "https://issuer.example/org/b"
	e := newEdge(t, fmt.Sprintf(`issuers:
  - {issuer: %q, jwks: {file: keys.json}, audiences: [%q], organizationId: org_a}
  - {issuer: %q, jwks: {file: keys.json}, audiences: [%q], organizationId: org_b}
`, edgeIssuer, edgeAudience, otherIssuer, edgeAudience))
	e.write(t, "policies/authz.rego", cachePolicy)
	e.startHere(t)
	e.startEnvoy(t)
	bearers := map[string]string{
		"org_a":          e.bearer(t),
		"org_b":          e.bearer(t, "iss", otherIssuer, "org_id", "org_b"),
		"a, says org_b":  e.bearer(t, "org_id", "org_b"),
		"b, says org_a":  e.bearer(t, "iss", otherIssuer),
		"org_a, expired": e.bearer(t, "exp", goodClaims()["iat"].(int64)-120, "iat", goodClaims()["iat"].(int64)-600, "nbf", nil),
	}
	type question struct{ who, method, host, target string }
	var questions []question
	for _, who := range slices.Sorted(maps.Keys(bearers)) {
		for _, method := range []string{"GET", "DELETE"} {
			for _, host := range []string{"a.example", "b.example"} {
				for _, target := range []string{"/orders/1", "/orders/1?x", "/orders/2"} {
					questions = append(questions, question{who, method, host, target})
				}
			}
		}
	}
	want := func(q question) int {
		switch {
		case q == question{"org_a", "GET", "a.example", "/orders/1"}, q == question{"org_b", "DELETE", "b.example", "/orders/1?x"}:
			return http.StatusOK
		case q.who == "org_a" || q.who == "org_b":
			return http.StatusForbidden
		}
		return http.StatusUnauthorized
	}
	awaitThat(t, "decisions are remembered", func() bool { return strings.Contains(e.log.String(), "decisions are remembered") })
	random := rand.New(rand.NewPCG(1, 33496)) //nolint:gosec // the same order in each run
	for range 8 * len(questions) {
		q := questions[random.IntN(len(questions))]
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n\r\n", q.method, q.target, q.host, bearers[q.who]))
		if a.Status != want(q) || (e.service.Count() > before) != (a.Status == http.StatusOK) {
			t.Errorf("%+v: status %d, want %d", q, a.Status, want(q))
		}
		if a.Status == http.StatusOK && !slices.Equal(e.service.Values("x-agent-organization"), []string{q.who}) {
			t.Errorf("%+v became %q", q, e.service.Values("x-agent-organization"))
		}
	}
}
