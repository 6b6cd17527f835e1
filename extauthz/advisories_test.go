package extauthz

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/policy"
)

// The tests in advisories_*_test.go are named by advisories about other edges: each asserts that what brought one of them
// down does not work here. Those that need a real Envoy are in advisories_envoy_test.go.

// notAdmin allows everything but /admin, the kind of rule that path tricks walk around.
const notAdmin = "package agentidp.authz\ndefault allow := false\nallow if input.parsed_path[0] != \"admin\"\n"

// refuses asserts that none of the targets is allowed, with a good token in hand.
func refuses(t *testing.T, e *edge, targets ...string) {
	t.Helper()
	bearer := "Bearer " + e.signer(t)(nil)
	for _, target := range targets {
		if got := e.ask(t, request("GET", target, "authorization", bearer)); got.status != 400 && got.status != 401 && got.status != 403 {
			t.Errorf("%s: %+v", target, got)
		}
	}
	if got := e.ask(t, request("GET", "/orders", "authorization", bearer)); got.status != 200 {
		t.Errorf("a good request: %+v", got)
	}
}

func TestAdvisoriesOfPaths(t *testing.T) {
	t.Parallel()
	for id, targets := range map[string][]string{
		"GHSA-9f29-v6mm-pw6w CVE-2026-26205 opa-envoy-plugin": {"//admin/people", "//example.com/admin", "///admin", "/orders//admin", "//orders"},
		"GHSA-3q34-rx83-r6mq heimdall":                        {"/orders/../admin", "/./admin", "/orders/%2e%2e/admin", "/%2e/admin", "/orders/..%2fadmin"},
		"CVE-2026-32811 heimdall":                             {"/orders%3F/../admin", "/admin?x=%2Forders", "/admin%3f%2Forders/..", "/admin?", "/orders?a=1#/admin\\"},
		"CVE-2026-33494 oathkeeper":                           {"/orders/../../admin", "/orders/%252e%252e/admin", "/orders/%2E%2E%2Fadmin", "/orders\\..\\admin", "/orders/%5c..%5cadmin"},
		"CVE-2026-73511 CVE-2026-73551 Envoy":                 {"/orders/..;/admin", "/orders/..;a=b/admin", "/admin;x=1", "/orders/.;/../admin"},
		"CVE-2021-32779 Envoy":                                {"/admin#/orders", "/orders#/../admin", "/admin%23/../orders/.."},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			refuses(t, newEdge(t, notAdmin, nil), targets...)
		})
	}
}

// CVE-2026-32811: the policy sees the target as Envoy got it, a question mark that was escaped included.
func TestAdvisoryCVE_2026_32811(t *testing.T) {
	t.Parallel()
	e := newEdge(t, `package agentidp.authz
default allow := false
allow if { input.parsed_path == ["orders", "a?b"]; input.parsed_query == {"c": ["d?e"]}; input.attributes.request.http.path == "/orders/a%3Fb?c=d%3Fe" }
`, nil)
	if got := e.ask(t, request("GET", "/orders/a%3Fb?c=d%3Fe", "authorization", "Bearer "+e.signer(t)(nil))); got.status != 200 {
		t.Errorf("got %+v", got)
	}
}

// Skip lists that matched the query, the fragment, a forwarded URI or a user agent. Ours match method and path, by segment.
func TestAdvisoriesOfSkipLists(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	for id, c := range map[string]struct {
		target  string
		headers []string
	}{
		"CVE-2025-54576 oauth2-proxy":      {"/orders?/healthz", nil},
		"CVE-2025-54576 oauth2-proxy, url": {"/orders?next=/healthz/", nil},
		"CVE-2026-41059 oauth2-proxy":      {"/orders#/healthz", nil},
		"CVE-2026-41059 oauth2-proxy, %23": {"/healthz%23/../orders", nil},
		"CVE-2026-40575 oauth2-proxy":      {"/orders", []string{"x-forwarded-uri", "/healthz"}},
		"CVE-2026-40575 oauth2-proxy, url": {"/orders", []string{"x-original-url", "/healthz", "x-rewrite-url", "/healthz"}},
		"CVE-2026-34457 oauth2-proxy":      {"/orders", []string{"user-agent", "kube-probe/1.30"}},
		"CVE-2026-34457 oauth2-proxy, gcp": {"/orders", []string{"user-agent", "GoogleHC/1.0"}},
		"CVE-2023-27487 Envoy":             {"/orders", []string{"x-envoy-original-path", "/healthz"}},
		"CVE-2026-33495 oathkeeper":        {"/orders", []string{"x-forwarded-proto", "https", "x-forwarded-host", "internal", "x-forwarded-for", "127.0.0.1"}},
		"CVE-2021-21378 Istio":             {"/orders", []string{"authorization", "Bearer " + josetest.Valid()[:20] + ".e30.AAAA"}},
	} {
		if got := e.ask(t, request("GET", c.target, c.headers...)); got.status != 400 && got.status != 401 {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// CVE-2025-64484 (oauth2-proxy), GHSA-w9mr-28mw-j8hg (oathkeeper): other spellings of our headers, and headers that take
// ours away behind us.
func TestAdvisoryCVE_2025_64484(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	got := e.ask(t, request("GET", "/healthz", "x_agent_id", "forged", "X-Agent_Id", "forged", "x-agent-id", "forged", "x-agent-role", "admin"))
	if d := []string{"x-agent-id", "x-agent-role", "x-agent_id", "x_agent_id"}; got.status != 200 || !slices.Equal(got.removed, d) || got.headers["x-agent-id"] != "" {
		t.Errorf("got %+v", got)
	}
	for _, option := range []string{"x-agent-id", "close, X-Agent-Id", "x_agent_id", "authorization"} {
		if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(nil), "connection", option)); got.status != 400 {
			t.Errorf("connection: %s: %+v", option, got)
		}
	}
}

// Bodies: a policy that denies by what it finds in a body must not be shown nothing, or something else than the service.
func TestAdvisoriesOfBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "package agentidp.authz\ndefault allow := false\nallow if not input.parsed_body.blocked\n", nil)
	bearer := "Bearer " + e.signer(t)(nil)
	for id, body := range map[string]string{
		"CVE-2026-50197 skipper, not parsed":        `{"blocked": true`,
		"CVE-2026-50197 skipper, bytes in front":    "\xef\xbb\xbf" + `{"blocked": true}`,
		"GHSA-4gph-2hhr-5mwg ai-gateway, twice":     `{"blocked": true, "blocked": false}`,
		"GHSA-4gph-2hhr-5mwg ai-gateway, escaped":   `{"blocked": true, "block\u0065d": false}`,
		"GHSA-4gph-2hhr-5mwg ai-gateway, batch":     `{} {"blocked": true}`,
		"GHSA-4gph-2hhr-5mwg ai-gateway, not UTF-8": "{\"blocked\": true, \"x\": \"\xff\"}",
		"plain": `{"blocked": true}`,
	} {
		if got := e.ask(t, withBody(request("POST", "/orders", "authorization", bearer), body)); got.status != 400 && got.status != 403 {
			t.Errorf("%s: %+v", id, got)
		}
	}
	for id, header := range map[string][]string{
		"GHSA-8qqm-fp2q-v734 skipper, cut off":     {"x-envoy-auth-partial-body", "true"},
		"GHSA-8qqm-fp2q-v734 skipper, longer body": {"content-length", "1000"},
	} {
		in := withBody(request("POST", "/orders", append(header, "authorization", bearer)...), `{"blocked": true}`)
		if got := e.ask(t, in); got.status != 400 {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// Header values that gRPC, joining or a regular expression would have changed before the rule saw them.
func TestAdvisoriesOfHeaders(t *testing.T) {
	t.Parallel()
	e := newEdge(t, `package agentidp.authz
default allow := false
allow if not regex.match("(^|,)admin(,|$)", object.get(input.attributes.request.http.headers, "x-role", ""))
`, nil)
	bearer := "Bearer " + e.signer(t)(nil)
	for id, c := range map[string]struct {
		headers []string
		status  int
	}{
		"CVE-2020-25017 Envoy, the first of two":       {[]string{"x-role", "admin", "x-role", "user"}, 403},
		"CVE-2021-32777 Envoy, the last of two":        {[]string{"x-role", "user", "x-role", "admin"}, 403},
		"CVE-2026-26308 Envoy, joined by the client":   {[]string{"x-role", "user,admin"}, 403},
		"CVE-2023-27488 Envoy, not UTF-8":              {[]string{"x-role", "admin\xff"}, 400},
		"CVE-2024-23324 Envoy, not UTF-8":              {[]string{"x-other", "\xc3\x28"}, 400},
		"CVE-2026-73552 Envoy, not UTF-8 and negative": {[]string{"x-role", "\xffadmin"}, 400},
		"CVE-2023-27493 Envoy, a line break":           {[]string{"x-role", "user\r\nx-agent-id: a"}, 400},
		"two tokens":                                   {[]string{"authorization", bearer}, 400},
		"fine":                                         {[]string{"x-role", "user"}, 200},
	} {
		if got := e.ask(t, request("GET", "/orders", append(c.headers, "authorization", bearer)...)); got.status != c.status {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

// Requests that made a proxy or an authorizer crash: each is an answer here, and the process goes on.
func TestAdvisoriesOfCrashes(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := newEdge(t, denyingNothing, func(o *Options) { o.Registerer = registry })
	bearer := "Bearer " + e.signer(t)(nil)
	for id, got := range map[string]answer{
		"CVE-2026-73547 Envoy, CONNECT without a path": e.ask(t, request("CONNECT", "", "authorization", bearer)),
		"CVE-2026-33186 grpc-go, no slash":             e.ask(t, request("GET", "orders", "authorization", bearer)),
		"CVE-2025-46821 Envoy, a template":             e.ask(t, request("GET", "/{a=*}\x00", "authorization", bearer)),
		"CVE-2024-45809 Envoy, odd token":              e.ask(t, request("GET", "/orders", "authorization", "Bearer ....")),
		"CVE-2025-64527 Envoy, empty parts":            e.ask(t, request("GET", "/orders", "authorization", "Bearer ..")),
		"CVE-2019-12995 Envoy, no token":               e.ask(t, request("GET", "/orders", "authorization", "Bearer ")),
		"CVE-2025-30204 golang-jwt, many parts":        e.ask(t, request("GET", "/orders", "authorization", "Bearer "+strings.Repeat(".", 8000))),
		"a path with a bad escape":                     e.ask(t, request("GET", "/orders/%zz", "authorization", bearer)),
		"nothing at all":                               e.ask(t, nil),
	} {
		if got.status != 400 && got.status != 401 {
			t.Errorf("%s: %+v", id, got)
		}
	}
	if got := e.ask(t, request("GET", "/orders", "authorization", bearer)); got.status != 200 {
		t.Errorf("afterwards: %+v", got)
	}
	want := "# HELP agentidp_extauthz_panics_total Panics that became denials.\n# TYPE agentidp_extauthz_panics_total counter\nagentidp_extauthz_panics_total 0\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_extauthz_panics_total"); err != nil {
		t.Error(err)
	}
}

// CVE-2025-25207, CVE-2025-25208 (authorino): a policy that never ends, or asks somebody slow, starves the others.
func TestAdvisoryCVE_2025_25207(t *testing.T) {
	t.Parallel()
	const slow = `package agentidp.authz
default allow := false
allow if { input.parsed_path[0] == "slow"; count([1 | some i in numbers.range(1, 100000000); i == -1]) == 1 }
allow if input.parsed_path[0] == "orders"
`
	e := newEdge(t, denyingNothing, nil)
	p, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte(slow)}},
		policy.Config{Path: "agentidp/authz/allow", EvalTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	bearer := "Bearer " + e.signer(t)(nil)
	e.setPolicy(p)
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() {
			if got := e.ask(t, request("GET", "/slow", "authorization", bearer)); got.status != 503 {
				t.Errorf("slow: %+v", got)
			}
		})
	}
	waiting.Wait()
	if got := e.ask(t, request("GET", "/orders", "authorization", bearer)); got.status != 200 {
		t.Errorf("the others: %+v", got)
	}
	for _, call := range []string{`http.send({"method": "get", "url": "http://127.0.0.1:1"})`, `net.lookup_ip_addr("localhost")`} {
		_, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte("package p\nallow if " + call + "\n")}}, policy.Config{Path: "p/allow"})
		if err == nil {
			t.Errorf("%s was compiled", call)
		}
	}
}

// sameKid is the public key of k under another name.
func sameKid(t *testing.T, k *jose.SigningKey, kid string) *jose.KeySet {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(k.PublicJWK(), &doc); err != nil {
		t.Fatal(err)
	}
	doc["kid"] = kid
	renamed, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := jose.ParseKeySet(jose.MarshalKeySet([]json.RawMessage{renamed}))
	if err != nil || keys.Len() != 1 {
		t.Fatal(err)
	}
	return keys
}

// CVE-2026-49998 (Centrifugo): keys found by kid alone let one issuer sign for another.
func TestAdvisoryCVE_2026_49998(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	k, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	other, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	const second = "https://second.example"
	e.changeIssuer(func(i *state.Issuer) { i.Keys = sameKid(t, other, k.ID()) })
	e.store.Update(func(s *state.Snapshot) {
		next := *s.Issuers[josetest.Issuer]
		next.Rules.Issuer, next.Keys = second, sameKid(t, k, k.ID())
		s.Issuers[second] = &next
	})
	now := josetest.Now().Unix()
	for iss, want := range map[string]int{second: 200, josetest.Issuer: 401, "https://third.example": 401} {
		doc, err := json.Marshal(map[string]any{
			"iss": iss, "sub": "agt_1", "aud": josetest.Audience, "iat": now, "exp": now + 300, "jti": "t-1", "client_id": "agt_1", "org_id": "org_a",
		})
		if err != nil {
			t.Fatal(err)
		}
		token, err := k.Sign("at+jwt", doc)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time the cache may answer
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token)); got.status != want {
				t.Errorf("%s: %+v", iss, got)
			}
		}
	}
}
