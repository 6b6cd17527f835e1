package extauthz_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// startEdge is the whole chain with extauthz in this process.
func startEdge(t *testing.T, more string) *edge {
	t.Helper()
	e := newEdge(t, more)
	e.startHere(t)
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	return e
}

func TestEdgeAllowsAndTellsTheServiceWho(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	a := e.get(t, "/orders/42?x=%2F1", e.bearer(t), "X-Agent-Id: forged", "x-agent-role: admin")
	if a.Status != http.StatusOK || e.service.Target() != "/orders/42?x=%2F1" {
		t.Fatalf("status %d, the service got %q", a.Status, e.service.Got())
	}
	for name, want := range map[string][]string{
		"x-agent-id": {"agt_1"}, "x-agent-organization": {"org_a"}, "x-agent-issuer": {edgeIssuer}, "x-agent-client-id": {"agt_1"},
		"x-agent-scopes": {"orders:read"}, "x-agent-origin": {"local"}, "x-agent-role": nil,
	} {
		if got := e.service.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s: the service got %q, want %q", name, got, want)
		}
	}
}

func TestEdgeDenies(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "public: [{method: GET, pathPrefix: /public}]\n")
	now := goodClaims()["iat"].(int64)
	for name, tc := range map[string]struct {
		target  string
		headers []string
		status  int
		says    string // in WWW-Authenticate
	}{
		"no token":          {"/orders/1", nil, 401, "Bearer"},
		"another scheme":    {"/orders/1", []string{"Authorization: Basic YTpi"}, 401, "Bearer"},
		"garbage token":     {"/orders/1", []string{"Authorization: Bearer a.b.c"}, 401, `error="invalid_token"`},
		"expired":           {"/orders/1", []string{e.bearer(t, "exp", now-120, "iat", now-600, "nbf", now-600)}, 401, `error="invalid_token"`},
		"another audience":  {"/orders/1", []string{e.bearer(t, "aud", "svc://other")}, 401, `error="invalid_token"`},
		"another issuer":    {"/orders/1", []string{e.bearer(t, "iss", "https://evil.example")}, 401, `error="invalid_token"`},
		"lives too long":    {"/orders/1", []string{e.bearer(t, "exp", now+7200)}, 401, `error="invalid_token"`},
		"no exp":            {"/orders/1", []string{e.bearer(t, "exp", nil)}, 401, `error="invalid_token"`},
		"scope missing":     {"/orders/1", []string{e.bearer(t, "scope", "orders:list")}, 403, ""},
		"route not allowed": {"/admin", []string{e.bearer(t)}, 403, ""},
		"public, no token":  {"/public", nil, 200, ""},
		"9 KiB token":       {"/orders/1", []string{"Authorization: Bearer " + e.longToken(t)}, 401, `error="invalid_token"`},
	} {
		before := e.service.Count()
		a := e.get(t, tc.target, tc.headers...)
		if a.Status != tc.status {
			t.Errorf("%s: status %d, want %d", name, a.Status, tc.status)
			continue
		}
		if tc.status == http.StatusOK {
			continue
		}
		if e.service.Count() != before {
			t.Errorf("%s: the service was reached", name)
		}
		if doc := problem(t, a); doc["status"] != float64(tc.status) || doc["code"] == "" || a.Header.Get("X-Decision-Id") == "" && doc["decisionId"] == nil && doc["decision_id"] == nil {
			t.Errorf("%s: %q, want status, code and a decision id", name, a.Body)
		}
		if !strings.Contains(a.Header.Get("WWW-Authenticate"), tc.says) || (tc.status == 401) != (a.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: WWW-Authenticate %q, want %q", name, a.Header.Get("WWW-Authenticate"), tc.says)
		}
	}
}

func TestEdgeNeverChoosesACredential(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	good, bad := e.token(t), e.token(t, "sub", "agt_2", "exp", int64(1))
	for name, headers := range map[string][]string{
		"good and bad":         {"Authorization: Bearer " + good, "Authorization: Bearer " + bad},
		"bad and good":         {"Authorization: Bearer " + bad, "Authorization: Bearer " + good},
		"the same twice":       {"Authorization: Bearer " + good, "authorization: Bearer " + good},
		"comma-joined":         {"Authorization: Bearer " + good + ", Bearer " + bad},
		"comma-joined tokens":  {"Authorization: Bearer " + good + "," + bad},
		"comma after":          {"Authorization: Bearer " + good + ","},
		"Basic and Bearer":     {"Authorization: Basic YTpi", "Authorization: Bearer " + good},
		"not UTF-8 after":      {"Authorization: Bearer " + good + "\xff"},
		"DPoP scheme":          {"Authorization: DPoP " + good},
		"no space":             {"Authorization: Bearer" + good},
		"underscore twin":      {"Authorization: Bearer " + good, "authorization_: Bearer " + bad},
		"in the query as well": {"Authorization: Bearer " + good, "x-in-query: yes"},
	} {
		target := "/orders/1"
		if name == "in the query as well" {
			target += "?access_token=" + good
		}
		before := e.service.Count()
		if a := e.get(t, target, headers...); !statusIn(a.Status, 400, 401) || e.service.Count() != before {
			t.Errorf("%s: status %d, reached %v; want 400 or 401 and no service", name, a.Status, e.service.Count() != before)
		}
	}
}

// What Envoy itself makes one header of is one header: to extauthz, and to the service.
func TestEdgeCredentialsEnvoyMakesOneOf(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	good := e.token(t)
	for name, headers := range map[string][]string{
		"folded":            {"Authorization: Bearer", " " + good},
		"one of them empty": {"Authorization: Bearer " + good, "Authorization:"},
		"the first empty":   {"Authorization:", "Authorization: Bearer " + good},
	} {
		before := e.service.Count()
		a := e.get(t, "/orders/1", headers...)
		switch {
		case e.service.Count() == before && !statusIn(a.Status, 400, 401):
			t.Errorf("%s: status %d without reaching the service", name, a.Status)
		case e.service.Count() != before && !slices.Equal(e.service.Values("authorization"), []string{"Bearer " + good}):
			t.Errorf("%s: the service got %q", name, e.service.Got())
		}
	}
}

// The spellings of E2 in notes/security.md: whatever a client sends, the service sees our value once, or is not reached.
func TestEdgeIdentityHeadersAreOurs(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	bearer := e.bearer(t)
	for name, headers := range map[string][]string{
		"as it is":           {"x-agent-id: forged"},
		"upper case":         {"X-AGENT-ID: forged"},
		"mixed case":         {"X-aGeNt-Id: forged"},
		"twice":              {"x-agent-id: forged", "X-Agent-Id: forged"},
		"empty":              {"x-agent-id:"},
		"empty and not":      {"x-agent-id:", "x-agent-id: forged"},
		"hop by hop":         {"x-agent-id: forged", "Connection: x-agent-id"},
		"only hop by hop":    {"Connection: close, x-agent-id"},
		"underscores":        {"x_agent_id: forged"},
		"mixed underscores":  {"x-agent_id: forged"},
		"dots":               {"X.Agent.Id: forged"},
		"other marks":        {"x!agent'id: forged", "x~agent-scopes: forged"},
		"comma-joined":       {"x-agent-id: forged, forged"},
		"with space before":  {"x-agent-id : forged"},
		"no dash":            {"x-agentid: forged"},
		"not UTF-8":          {"x-agent-id: \xff"},
		"another of ours":    {"x-agent-scopes: admin", "x-agent-organization: org_b", "x-agent-issuer: forged", "x-agent-name: forged", "x-agent-origin: forged"},
		"one we never set":   {"x-agent-superuser: yes"},
		"certificate header": {"x-forwarded-client-cert: By=forged;URI=spiffe://forged"},
		"other path, nginx":  {"x-original-url: /admin", "x-rewrite-url: /admin", "x-forwarded-uri: /admin"},
		"other path, Envoy":  {"x-envoy-original-path: /admin", "x-envoy-decorator-operation: forged"},
		"other host":         {"x-forwarded-host: forged", "forwarded: host=forged;for=forged"},
	} {
		before := e.service.Count()
		a := e.get(t, "/orders/1", append(headers, bearer)...)
		if e.service.Count() == before {
			if !statusIn(a.Status, refused...) {
				t.Errorf("%s: status %d without reaching the service", name, a.Status)
			}
			continue
		}
		got := e.service.Got()
		if strings.Contains(got, "forged") || strings.Contains(got, "/admin") || !slices.Equal(e.service.Values("x-agent-id"), []string{"agt_1"}) ||
			!slices.Equal(e.service.Values("x-agent-scopes"), []string{"orders:read"}) || e.service.Values("x-agent-superuser") != nil {
			t.Errorf("%s: the service got %q", name, got)
		}
		if a := e.get(t, "/orders/1", headers...); a.Status == http.StatusOK {
			t.Errorf("%s: allowed without a token", name)
		}
	}
	raw := "POST /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTE: trailers\r\nTrailer: x-agent-id\r\n" + bearer +
		"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-agent-id: forged\r\n\r\n"
	if rawhttp.Send(t, e.address, strings.Replace(raw, "POST", "GET", 1)); strings.Contains(e.service.Got(), "forged") {
		t.Errorf("as a trailer: the service got %q", e.service.Got())
	}
}

// means reports whether a target lies below prefix to a parser that decodes, to one that does not, to one that cuts at ";", and to one that
// ignores case.
func means(target, prefix string) bool {
	path, _, _ := strings.Cut(target, "?")
	lower := strings.ToLower(path)
	if lower != prefix && !strings.HasPrefix(lower, prefix+"/") {
		return false
	}
	for _, trap := range []string{"/./", "/../"} {
		if strings.Contains(lower+"/", trap) {
			return false
		}
	}
	for _, trap := range []string{"//", "%2f", "%5c", "\\", "%2e", "%25", "%00", "%0a", "#", ";", "%ff", "\xff"} {
		if strings.Contains(lower, trap) {
			return false
		}
	}
	return true
}

func TestEdgeOddRequests(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	bearer := e.bearer(t) + "\r\n"
	for name, raw := range map[string]string{
		"CONNECT":               "CONNECT orders:443 HTTP/1.1\r\nHost: orders:443\r\n" + bearer + "\r\n",
		"OPTIONS *":             "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n",
		"TRACE":                 "TRACE /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n",
		"no leading slash":      "GET orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n",
		"HTTP/1.0":              "GET /orders/1 HTTP/1.0\r\nHost: a\r\n" + bearer + "\r\n",
		"no host":               "GET /orders/1 HTTP/1.1\r\nConnection: close\r\n" + bearer + "\r\n",
		"two hosts":             "GET /orders/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n" + bearer + "\r\n",
		"websocket":             "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + bearer + "\r\n",
		"CL and TE":             "POST /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n" + bearer + "\r\n0\r\n\r\n",
		"TE with a twist":       "POST /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: xchunked\r\n" + bearer + "\r\n0\r\n\r\n",
		"two lengths":           "POST /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\nContent-Length: 4\r\n" + bearer + "\r\nabcd",
		"NUL in a header":       "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-odd: a\x00b\r\n" + bearer + "\r\n",
		"vertical tab":          "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-odd: a\x0bb\r\n" + bearer + "\r\n",
		"a header of 60 KiB":    "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-odd: " + strings.Repeat("x", 60<<10) + "\r\n" + bearer + "\r\n",
		"101 headers":           "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + strings.Repeat("x-odd: 1\r\n", 101) + bearer + "\r\n",
		"a method of its own":   "STEAL /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n",
		"absolute form, others": "GET http://evil.example/admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n",
	} {
		before := e.service.Count()
		if a := rawhttp.Send(t, e.address, raw); a.Status == http.StatusOK || e.service.Count() != before {
			t.Errorf("%s: status %d, the service got %q", name, a.Status, e.service.Got())
		}
	}
	for name, raw := range map[string]string{
		"absolute form": "GET http://service.example/orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n",
		"not UTF-8":     "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-odd: \xff\xfe\r\n" + bearer + "\r\n",
		"lone CR":       "GET /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-odd: a\rb\r\n" + bearer + "\r\n",
	} {
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, raw)
		switch {
		case e.service.Count() == before && !statusIn(a.Status, refused...):
			t.Errorf("%s: status %d without reaching the service", name, a.Status)
		case e.service.Count() != before && (e.service.Target() != "/orders/1" || strings.Contains(strings.ReplaceAll(e.service.Got(), "\r\n", ""), "\r")):
			t.Errorf("%s: the service got %q", name, e.service.Got())
		}
	}
	if a := e.get(t, "/orders/1", e.bearer(t)); a.Status != http.StatusOK {
		t.Errorf("after all that a good request gets %d", a.Status)
	}
}

func TestEdgeCannotDecideIs503(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.write(t, "policies/authz.rego", `package agentidp.authz

allow if {
	input.identity.subject != "agt_rehearsal"
	count([1 | numbers.range(1, 50000000)[_] == input.parsed_path]) == 1
}

allow if input.parsed_path[0] == "orders"
`)
	e.startHere(t)
	e.startEnvoy(t)
	before := e.service.Count()
	for _, target := range []string{"/orders/1", "/elsewhere"} {
		a := e.get(t, target, e.bearer(t))
		if a.Status != http.StatusServiceUnavailable || e.service.Count() != before {
			t.Errorf("%s: status %d, want 503", target, a.Status)
		}
	}
}

func TestEdgeIdentityModes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]map[string]int{ // by what the request carries
		"required": {"nothing": 401, "good": 200, "bad": 401},
		"optional": {"nothing": 200, "good": 200, "bad": 401},
		"policy":   {"nothing": 200, "good": 200, "bad": 200},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, fmt.Sprintf("identity: %s\n", mode))
			e.startHere(t)
			e.startEnvoy(t)
			e.await(t, want["good"], "/public", e.bearer(t))
			for carries, status := range want {
				headers := map[string][]string{"nothing": nil, "good": {e.bearer(t)}, "bad": {"Authorization: Bearer a.b.c"}}[carries]
				if a := e.get(t, "/public", headers...); a.Status != status {
					t.Errorf("%s: status %d, want %d", carries, a.Status, status)
				}
			}
			if e.get(t, "/public"); mode != "required" && e.service.Values("x-agent-id") != nil {
				t.Errorf("an identity nobody proved: %q", e.service.Got())
			}
		})
	}
}
