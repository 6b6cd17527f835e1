package extauthz

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/policy"
)

// The tests in advisories_*_test.go are about advisories of other edges: each asserts that what brought one of them down does
// not work here. The name of a subtest is the id, so that `go test -v` lists them; docs/security-edge.md has the whole list.
// Those that need a real Envoy are in advisories_envoy_test.go.

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
		// opa-envoy-plugin
		"GHSA-9f29-v6mm-pw6w": {"//admin/people", "//example.com/admin", "///admin", "//orders"},
		"CVE-2026-26205":      {"//x/admin", "/orders//admin", "/orders%2Fadmin", "/admin%2Fpeople"},
		// heimdall
		"GHSA-3q34-rx83-r6mq": {"/orders/../admin", "/./admin", "/orders/%2e%2e/admin", "/%2e/admin", "/orders/..%2fadmin"},
		"CVE-2026-32811":      {"/orders%3F/../admin", "/admin?x=%2Forders", "/admin%3f%2Forders/..", "/admin?", "/orders?a=1#/admin\\"},
		"CVE-2026-33494": { // oathkeeper
			"/orders/../../admin", "/orders/%252e%252e/admin", "/orders/%2E%2E%2Fadmin", "/orders\\..\\admin", "/orders/%5c..%5cadmin",
		},
		// Envoy
		"CVE-2026-73511": {"/orders/..;/admin", "/orders/..;a=b/admin", "/orders/.;/../admin"},
		"CVE-2026-73551": {"/orders/..;/..;/admin", "/admin;x=1", "/admin;/../orders"},
		"CVE-2021-32779": {"/admin#/orders", "/orders#/../admin", "/admin%23/../orders/.."},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			refuses(t, newEdge(t, notAdmin, nil), targets...)
		})
	}
}

// The policy sees the target as Envoy got it, a question mark that was escaped included (heimdall built it anew).
func TestAdvisoryOfRebuiltTargets(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-32811", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, `package agentidp.authz
default allow := false
allow if { input.parsed_path == ["orders", "a?b"]; input.parsed_query == {"c": ["d?e"]}; input.attributes.request.http.path == "/orders/a%3Fb?c=d%3Fe" }
`, nil)
		if got := e.ask(t, request("GET", "/orders/a%3Fb?c=d%3Fe", "authorization", "Bearer "+e.signer(t)(nil))); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	})
}

// Skip lists that matched the query, the fragment, a forwarded URI or a user agent. Ours match method and path, by segment.
func TestAdvisoriesOfSkipLists(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	type attempt struct {
		target  string
		headers []string
	}
	for id, attempts := range map[string][]attempt{
		// oauth2-proxy
		"CVE-2025-54576": {{"/orders?/healthz", nil}, {"/orders?next=/healthz/", nil}},
		"CVE-2026-41059": {{"/orders#/healthz", nil}, {"/healthz%23/../orders", nil}},
		"CVE-2026-40575": {{"/orders", []string{"x-forwarded-uri", "/healthz"}}, {"/orders", []string{"x-original-url", "/healthz", "x-rewrite-url", "/healthz"}}},
		"CVE-2026-34457": {{"/orders", []string{"user-agent", "kube-probe/1.30"}}, {"/orders", []string{"user-agent", "GoogleHC/1.0"}}},

		"CVE-2023-27487": {{"/orders", []string{"x-envoy-original-path", "/healthz"}}},                                                          // Envoy
		"CVE-2026-33495": {{"/orders", []string{"x-forwarded-proto", "https", "x-forwarded-host", "internal", "x-forwarded-for", "127.0.0.1"}}}, // oathkeeper
		"CVE-2021-21378": {{"/orders", []string{"authorization", "Bearer " + josetest.Valid()[:20] + ".e30.AAAA"}}},                             // Istio
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			for _, a := range attempts {
				if got := e.ask(t, request("GET", a.target, a.headers...)); got.status != 400 && got.status != 401 {
					t.Errorf("%s, %q: %+v", a.target, a.headers, got)
				}
			}
		})
	}
}

// Other spellings of our headers (oauth2-proxy), and headers that take ours away behind us (oathkeeper).
func TestAdvisoriesOfIdentityHeaders(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	bearer := "Bearer " + e.signer(t)(nil)
	t.Run("CVE-2025-64484", func(t *testing.T) {
		t.Parallel()
		got := e.ask(t, request("GET", "/healthz", "x_agent_id", "forged", "X-Agent_Id", "forged", "x-agent-id", "forged", "x-agent-role", "admin"))
		if d := []string{"x-agent-id", "x-agent-role", "x-agent_id", "x_agent_id"}; got.status != 200 || !slices.Equal(got.removed, d) || got.headers["x-agent-id"] != "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("GHSA-w9mr-28mw-j8hg", func(t *testing.T) {
		t.Parallel()
		for _, option := range []string{"x-agent-id", "close, X-Agent-Id", "x_agent_id", "authorization"} {
			if got := e.ask(t, request("GET", "/orders", "authorization", bearer, "connection", option)); got.status != 400 {
				t.Errorf("connection: %s: %+v", option, got)
			}
		}
	})
}

// Bodies: a policy that denies by what it finds in a body must not be shown nothing, or something else than the service.
func TestAdvisoriesOfBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "package agentidp.authz\ndefault allow := false\nallow if not input.parsed_body.blocked\n", nil)
	bearer := "Bearer " + e.signer(t)(nil)
	post := func(t *testing.T, body string, headers ...string) int {
		return e.ask(t, withBody(request("POST", "/orders", append(headers, "authorization", bearer)...), body)).status
	}
	for id, bodies := range map[string][]string{
		"CVE-2026-50197": {`{"blocked": true`, "\xef\xbb\xbf" + `{"blocked": true}`, `{"blocked": true}`}, // skipper
		"GHSA-4gph-2hhr-5mwg": { // ai-gateway
			`{"blocked": true, "blocked": false}`, `{"blocked": true, "block\u0065d": false}`, `{} {"blocked": true}`, "{\"blocked\": true, \"x\": \"\xff\"}",
		},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			for _, body := range bodies {
				if got := post(t, body); got != 400 && got != 403 {
					t.Errorf("%s: status %d", body, got)
				}
			}
			if got := post(t, `{"blocked": false}`); got != 200 {
				t.Errorf("a good body: status %d", got)
			}
		})
	}
	t.Run("GHSA-8qqm-fp2q-v734", func(t *testing.T) { // skipper
		t.Parallel()
		for _, header := range [][]string{{"x-envoy-auth-partial-body", "true"}, {"content-length", "1000"}} {
			if got := post(t, `{"blocked": true}`, header...); got != 400 {
				t.Errorf("%q: status %d", header, got)
			}
		}
	})
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
		"CVE-2020-25017": {[]string{"x-role", "admin", "x-role", "user"}, 403}, // the first of two
		"CVE-2021-32777": {[]string{"x-role", "user", "x-role", "admin"}, 403}, // the last of two
		"CVE-2026-26308": {[]string{"x-role", "user,admin"}, 403},              // joined by the client
		"CVE-2023-27488": {[]string{"x-role", "admin\xff"}, 400},               // not UTF-8
		"CVE-2024-23324": {[]string{"x-other", "\xc3\x28"}, 400},
		"CVE-2026-73552": {[]string{"x-role", "\xffadmin"}, 400}, // and a negative rule
		"CVE-2023-27493": {[]string{"x-role", "user\r\nx-agent-id: a"}, 400},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			if got := e.ask(t, request("GET", "/orders", append(c.headers, "authorization", bearer)...)); got.status != c.status {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := e.ask(t, request("GET", "/orders", "x-role", "user", "authorization", bearer)); got.status != 200 {
		t.Errorf("a good request: %+v", got)
	}
}

// Requests that made a proxy or an authorizer crash: each is an answer here, and the process goes on.
func TestAdvisoriesOfCrashes(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := newEdge(t, denyingNothing, func(o *Options) { o.Registerer = registry })
	bearer := "Bearer " + e.signer(t)(nil)
	for id, in := range map[string]*authv3.CheckRequest{
		// Envoy
		"CVE-2026-73547": request("CONNECT", "", "authorization", bearer),
		"CVE-2025-46821": request("GET", "/{a=*}\x00", "authorization", bearer),
		"CVE-2024-45809": request("GET", "/orders", "authorization", "Bearer ...."),
		"CVE-2025-64527": request("GET", "/orders", "authorization", "Bearer .."),
		"CVE-2019-12995": request("GET", "/orders", "authorization", "Bearer "),

		"CVE-2026-33186": request("GET", "orders", "authorization", bearer),                                             // grpc-go
		"CVE-2025-30204": request("GET", "/orders", "authorization", "Bearer "+strings.Repeat(".", 8000)),               // golang-jwt
		"CVE-2025-27144": request("GET", "/orders", "authorization", "Bearer "+strings.Repeat("a.", 4000)+"a"),          // go-jose
		"CVE-2025-61920": request("GET", "/orders", "authorization", "Bearer "+strings.Repeat("a", 50<<10)+".e30.AAAA"), // Authlib
		"a bad escape":   request("GET", "/orders/%zz", "authorization", bearer),
		"nothing at all": nil,
	} {
		t.Run(id, func(t *testing.T) {
			if got := e.ask(t, in); got.status != 400 && got.status != 401 {
				t.Errorf("%+v", got)
			}
		})
	}
	if got := e.ask(t, request("GET", "/orders", "authorization", bearer)); got.status != 200 {
		t.Errorf("afterwards: %+v", got)
	}
	want := "# HELP agentidp_extauthz_panics_total Panics that became denials.\n# TYPE agentidp_extauthz_panics_total counter\nagentidp_extauthz_panics_total 0\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_extauthz_panics_total"); err != nil {
		t.Error(err)
	}
}

// A policy that never ends, or asks somebody slow, starves the others (authorino).
func TestAdvisoriesOfPolicies(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2025-25207", testSlowPolicy)
	t.Run("CVE-2025-25208", func(t *testing.T) {
		t.Parallel()
		for _, call := range []string{`http.send({"method": "get", "url": "http://127.0.0.1:1"})`, `net.lookup_ip_addr("localhost")`} {
			_, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte("package p\nallow if " + call + "\n")}}, policy.Config{Path: "p/allow"})
			if err == nil {
				t.Errorf("%s was compiled", call)
			}
		}
	})
}

func testSlowPolicy(t *testing.T) {
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

// Keys found by kid alone let one issuer sign for another (Centrifugo); a signer nobody compared with whom the token is from (the ALB
// adapter); an issuer that was found by a pattern (Fulcio).
func TestAdvisoriesOfIssuers(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-49998", testSameKidAtTwoIssuers)
	t.Run("CVE-2024-8901", testSignerOfAnotherIssuer)
	t.Run("CVE-2026-22772", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, denyingNothing, nil)
		sign := e.signer(t)
		for _, iss := range []string{
			josetest.Issuer + ".evil.example", josetest.Issuer + "/", josetest.Issuer + "x", "https://evil.example/" + josetest.Issuer, "https://evil.example/?" + josetest.Issuer,
			"https://evil.example#" + josetest.Issuer, strings.ToUpper(josetest.Issuer), strings.Replace(josetest.Issuer, ".", "x", 1), strings.Replace(josetest.Issuer, "https", "http", 1),
		} {
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"iss": iss}))); got.status != 401 {
				t.Errorf("%s: %+v", iss, got)
			}
		}
		if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+sign(nil))); got.status != 200 {
			t.Errorf("the issuer itself: %+v", got)
		}
	})
}

// testSignerOfAnotherIssuer: both issuers are trusted, each only with its own keys.
func testSignerOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	const second = "https://second.example"
	e := newEdge(t, denyingNothing, nil)
	signFirst := e.signer(t)
	firstKeys := e.store.Load().Issuers[josetest.Issuer].Keys
	signSecond := e.signer(t) // the issuer's keys are these now
	e.store.Update(func(s *state.Snapshot) {
		next := *s.Issuers[josetest.Issuer]
		next.Rules.Issuer = second
		s.Issuers[second] = &next
		first := *s.Issuers[josetest.Issuer]
		first.Keys = firstKeys
		s.Issuers[josetest.Issuer] = &first
	})
	for _, c := range []struct {
		name  string
		token string
		want  int
	}{
		{"each with its own, the first", signFirst(nil), 200},
		{"each with its own, the second", signSecond(map[string]any{"iss": second}), 200},
		{"the second signs for the first", signSecond(nil), 401},
		{"the first signs for the second", signFirst(map[string]any{"iss": second}), 401},
	} {
		for range 2 {
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+c.token)); got.status != c.want {
				t.Errorf("%s: %+v, want %d", c.name, got, c.want)
			}
		}
	}
}

func testSameKidAtTwoIssuers(t *testing.T) {
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

// What a policy is given of a credential (Vault handed whole tokens to plugins), and what it may name (OPA took more than a name for a path).
func TestAdvisoriesOfWhatPoliciesGet(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-4525", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, `package agentidp.authz
allow := {"allowed": true, "headers": {"x-saw": json.marshal(input)}, "request_headers_to_remove": ["authorization"]}
`, nil)
		token := e.signer(t)(nil)
		got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token))
		if saw := got.headers["x-saw"]; got.status != 200 || !strings.Contains(saw, "Bearer [masked]") || strings.Contains(saw, token) || strings.Contains(saw, token[strings.LastIndexByte(token, '.')+1:]) {
			t.Errorf("the policy saw %s", saw)
		}
		if !slices.Contains(got.removed, "authorization") {
			t.Errorf("the service gets the token: %+v", got)
		}
	})
	t.Run("CVE-2025-46569", func(t *testing.T) {
		t.Parallel()
		source := []policy.Source{{Name: "authz.rego", Data: []byte(denyingNothing)}}
		for _, path := range []string{
			"agentidp/authz/allow; true", "agentidp/authz/allow[x]", "agentidp/authz/allow\nx := 1", "agentidp/authz/allow/../other", `agentidp["authz"].allow`, "agentidp/authz/allow with input as {}",
			"agentidp/authz/allow}", "/agentidp/authz/allow", "agentidp//allow", "agentidp/authz/allow%2F", "",
		} {
			if p, err := policy.Compile(context.Background(), source, policy.Config{Path: path}); err == nil {
				p.Close()
				t.Errorf("%q is taken for a path", path)
			}
		}
		p, err := policy.Compile(context.Background(), source, policy.Config{Path: "agentidp/authz/allow"})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	})
}

// A token that was good is not good in part (Zitadel took opaque tokens that were cut), also while it is remembered; and no key stands in
// for keys that are not there (Istio, PR 59369).
func TestAdvisoriesOfWhatIsNoToken(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-27840", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, denyingNothing, nil)
		token := e.signer(t)(nil)
		for range 2 {
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token)); got.status != 200 {
				t.Fatalf("whole: %+v", got)
			}
		}
		for n := range len(token) {
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token[:n])); got.status != 401 && got.status != 400 {
				t.Errorf("its first %d bytes: %+v", n, got)
			}
		}
	})
	t.Run("istio PR 59369", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, denyingNothing, nil)
		in := request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(nil))
		none, _, err := jose.ParseKeySet([]byte(`{"keys":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		for want, keys := range map[int]*jose.KeySet{503: nil, 401: none} {
			e.changeIssuer(func(i *state.Issuer) { i.Keys = keys })
			if got := e.ask(t, in); got.status != want {
				t.Errorf("with %v: %+v, want %d", keys, got, want)
			}
		}
	})
}
