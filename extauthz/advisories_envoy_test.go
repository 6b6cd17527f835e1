package extauthz_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
	"github.com/agentidp/agentidp/internal/trust"
)

// Advisories of Envoy, and of servers behind it, through the real Envoy. A subtest has the id of its advisory as its name.

// pathAdvisories are targets that meant one thing to whoever decided, and another to whoever answered.
func pathAdvisories() map[string][]string {
	return map[string][]string{
		"CVE-2019-9901":           {"/public/../admin", "/public/./../admin", "/public/%2e%2e/admin"},
		"CVE-2021-29492":          {"/public%2F..%2Fadmin", "/public/..%2fadmin", "/public%5C..%5Cadmin", "/orders%2F..%2Fadmin"},
		"CVE-2021-32779":          {"/admin#/public", "/admin#/../public", "/public#/../admin"},
		"CVE-2026-73511":          {"/public/..;/admin", "/public/..;a=b/admin", "/orders/.;/../admin"},
		"CVE-2026-73551":          {"/orders/..;/..;/admin", "/admin;/../public"},
		"CVE-2021-39155":          {"/PUBLIC/../admin", "/ORDERS/1", "/Admin"},
		"GHSA-9f29-v6mm-pw6w":     {"//admin", "//public/../admin", "//public//admin"},
		"CVE-2026-32811":          {"/public%3F/../admin", "/admin?/public", "/public%3f/admin"},
		"CVE-2026-33494":          {"/public/../../admin", "/public/%252e%252e/admin"},
		"ISTIO-SECURITY-2021-005": {"//admin", "/public//../admin", "///public/../admin"},
		"ISTIO-SECURITY-2021-008": {"/admin#/public", "/public#/admin", "/PUBLIC#"},
		"CVE-2025-54576":          {"/admin?x=/public", "/admin?/public"},
		"CVE-2026-41059":          {"/admin#/public", "/admin?/public#/public"},
	}
}

// The service is reached by what the policy decided on, or not at all. The policy of this world allows agents to read /orders and everybody
// to read /public. Both locks hold by themselves: Envoy's rules and ours, and ours without Envoy's.
func TestAdvisoriesThroughEnvoy(t *testing.T) {
	t.Parallel()
	without := newEdge(t, "")
	without.startHere(t)
	without.startEnvoy(t, func(doc string) string {
		for _, rule := range []string{"normalize_path: true", "merge_slashes: true", "path_with_escaped_slashes_action: REJECT_REQUEST"} {
			doc = replaceOnce(t, doc, "                "+rule+"\n", "")
		}
		return doc
	})
	without.await(t, http.StatusOK, "/orders/warm", without.bearer(t))
	with := startEdge(t, "")
	for id, targets := range pathAdvisories() {
		t.Run(id, func(t *testing.T) {
			for name, e := range map[string]*edge{"as shipped": with, "without Envoy's rules": without} {
				for _, target := range targets {
					e.leadsNowhereElse(t, name, target)
				}
			}
		})
	}
}

// leadsNowhereElse sends a target with and without a token. What reaches the service is below what everybody may read.
func (e *edge) leadsNowhereElse(t *testing.T, name, target string) {
	t.Helper()
	for _, headers := range [][]string{nil, {e.bearer(t)}} {
		before := e.service.Count()
		a := e.get(t, target, headers...)
		if e.service.Count() == before {
			if !statusIn(a.Status, append(refused, 0)...) {
				t.Errorf("%s: %q: status %d without reaching the service", name, target, a.Status)
			}
			continue
		}
		if got := e.service.Target(); !means(got, "/public") && !means(got, "/orders") {
			t.Errorf("%s: %q arrived as %q", name, target, got)
		}
	}
}

// The other lock alone: an authorizer that believes any path that begins with /public. Path parameters on dot segments and fragments are not
// Envoy's matter, and that a question mark was escaped neither: those three are ours alone.
func TestAdvisoriesOfPathsByEnvoyAlone(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	naive := startNaive(t, e.socket, func(path string) bool { return strings.HasPrefix(path, "/public") })
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/public")
	ours := []string{"CVE-2026-73511", "CVE-2026-32811", "CVE-2026-33494"}
	for id, targets := range pathAdvisories() {
		if slices.Contains(ours, id) {
			continue
		}
		t.Run(id, func(t *testing.T) {
			for _, target := range targets {
				before := e.service.Count()
				a := e.get(t, target)
				if e.service.Count() == before {
					if !statusIn(a.Status, append(refused, 0)...) {
						t.Errorf("%q: status %d without reaching the service", target, a.Status)
					}
					continue
				}
				if got := e.service.Target(); got != naive.last() || !means(got, "/public") {
					t.Errorf("%q: decided on as %q, arrived as %q", target, naive.last(), got)
				}
			}
		})
	}
}

// naive is an authorizer that believes what it is shown.
type naive struct {
	authv3.UnimplementedAuthorizationServer
	allows func(path string) bool
	mu     sync.Mutex
	path   string
}

func startNaive(t *testing.T, socket string, allows func(path string) bool) *naive {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	n, server := &naive{allows: allows}, grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, n)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return n
}

// Check implements the Authorization service.
func (n *naive) Check(_ context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.path = in.GetAttributes().GetRequest().GetHttp().GetPath()
	if !n.allows(n.path) {
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}}, nil
	}
	return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

// last is the path it was last shown.
func (n *naive) last() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.path
}

// headersPolicy allows agents to read orders, unless a header says that they are somebody they are not to be. The service is told what it saw.
const headersPolicy = `package agentidp.authz

http := input.attributes.request.http

default allow := false

allow if {
	input.parsed_path[0] == "orders"
	"orders:read" in input.identity.scopes
	not regex.match("(^|,)blocked(,|$)", object.get(http.headers, "x-role", ""))
}

decision := {"allowed": allow, "headers": {"x-saw": base64.encode(json.marshal({
	"http": object.remove(http, ["id"]), "host": input.parsed_host, "peer": input.attributes.source.address.socketAddress.address,
}))}}
`

// startHeaders is an edge with headersPolicy; edits change Envoy.
func startHeaders(t *testing.T, edits ...func(doc string) string) *edge {
	t.Helper()
	e := newEdge(t, "policy: {dir: policies, timeout: 200ms, path: agentidp/authz/decision}\nhealth: [{method: GET, path: /healthz}]\n")
	e.write(t, "policies/authz.rego", headersPolicy)
	e.startHere(t)
	e.startEnvoy(t, edits...)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	return e
}

// headerAttempt is a request whose headers say what only the edge can know. With a good token, so that nothing but the rule that it is
// about stands in its way.
type headerAttempt struct {
	target  string
	headers []string
	status  []int // any of them; 200 means that what was said must have been dropped
}

func headerAdvisories(t *testing.T, e *edge) map[string][]headerAttempt {
	good := "Authorization: Bearer " + e.token(t)
	token := strings.TrimPrefix(good, "Authorization: ")
	allowed, denied, bad := []int{http.StatusOK}, []int{http.StatusForbidden}, []int{http.StatusBadRequest}
	either := []int{http.StatusBadRequest, http.StatusUnauthorized}
	dropped := func(headers ...string) []headerAttempt { // on an allowed path it is dropped; on a denied one it opens nothing
		headers = append(headers, good)
		return []headerAttempt{{"/orders/1", headers, allowed}, {"/admin", headers, denied}}
	}
	return map[string][]headerAttempt{
		"CVE-2023-27487": dropped("x-envoy-original-path: /orders/forged"),
		"CVE-2024-45806": dropped("x-envoy-internal: forged", "x-envoy-peer-metadata: forged", "x-envoy-retry-on: forged", "x-envoy-external-address: 203.0.113.7", "x-forwarded-for: 203.0.113.7"),
		"CVE-2026-40575": dropped("x-forwarded-uri: /orders/forged", "x-original-url: /orders/forged", "x-rewrite-url: /orders/forged"),
		"CVE-2026-33495": dropped("x-forwarded-host: forged", "forwarded: host=forged;proto=https", "x-forwarded-proto: forged"),
		"CVE-2026-34457": {
			{"/orders/1", []string{"user-agent: kube-probe/1.30"}, []int{http.StatusUnauthorized}},
			{"/healthz/../orders/1", []string{"user-agent: GoogleHC/1.0"}, []int{http.StatusUnauthorized}},
		},
		"CVE-2025-64484": {
			{"/orders/1", []string{good, "x_forwarded_uri: /forged"}, bad},
			{"/orders/1", []string{good, "x_agent_id: forged"}, bad},
			{"/orders/1", []string{"authorization_: " + token}, bad},
		},
		"CVE-2026-26308": {
			{"/orders/1", []string{"Authorization: Basic YTpi," + token}, either},
			{"/orders/1", []string{"Authorization: Basic YTpi", good}, either},
			{"/orders/1", []string{good, "x-role: user,blocked"}, denied},
		},
		"CVE-2020-25017": {
			{"/orders/1", []string{good, "Authorization: Bearer a.b.c"}, either},
			{"/orders/1", []string{"Authorization: Bearer a.b.c", good}, either},
			{"/orders/1", []string{good, "x-role: blocked", "x-role: user"}, denied},
		},
		"CVE-2021-32777": {{"/orders/1", []string{good, "x-role: user", "x-role: blocked"}, denied}},
		"CVE-2023-27488": {{"/orders/1", []string{good + "\xff"}, either}, {"/admin", []string{good, "x-odd: \xff"}, bad}, {"/orders/1", []string{good, "x-odd: \xff"}, bad}},
		"CVE-2024-23324": {{"/admin", []string{good, "x-odd: \xc3\x28"}, bad}, {"/orders/1", []string{"Authorization: Bearer \xff\xfe"}, either}},
		"CVE-2026-73552": {{"/orders/1", []string{good, "x-role: blocked"}, denied}, {"/orders/1", []string{good, "x-role: \xffblocked"}, bad}, {"/orders/1", []string{good, "x-role: blocked,\xff"}, bad}},
		"GHSA-w9mr-28mw-j8hg": {
			{"/orders/1", []string{good, "x-agent-id: forged", "Connection: x-agent-organization"}, append(allowed, bad...)},
			{"/orders/1", []string{good, "Connection: close, authorization"}, either},
		},
	}
}

// wrong says what is wrong with the answer to an attempt, if anything is.
func (e *edge) wrong(t *testing.T, attempt headerAttempt) string {
	t.Helper()
	before := e.service.Count()
	a := e.get(t, attempt.target, attempt.headers...)
	reached := e.service.Count() != before
	if !slices.Contains(attempt.status, a.Status) || reached != (a.Status == http.StatusOK) {
		return fmt.Sprintf("%s %q: status %d, service reached: %v; want %v", attempt.target, attempt.headers[0], a.Status, reached, attempt.status)
	}
	if !reached {
		return ""
	}
	var saw struct{ Host, Peer string }
	text, err := base64.StdEncoding.DecodeString(strings.Join(e.service.Values("x-saw"), ""))
	if err == nil {
		err = json.Unmarshal(text, &saw)
	}
	if err != nil {
		t.Fatalf("%v in what the policy saw: %q", err, e.service.Got())
	}
	got := e.service.Got()
	switch {
	case strings.Contains(string(text), "forged") || saw.Host != "service.example" || saw.Peer != "127.0.0.1":
		return fmt.Sprintf("%q: the policy saw %s", attempt.headers[0], text)
	case strings.Contains(got, "forged") || !slices.Equal(e.service.Values("x-agent-id"), []string{"agt_1"}) || !slices.Equal(e.service.Values("x-agent-organization"), []string{"org_a"}) ||
		!slices.Equal(e.service.Values("x-envoy-external-address"), []string{"127.0.0.1"}):
		return fmt.Sprintf("%q: the service got %q", attempt.headers[0], got)
	}
	return ""
}

// Headers by which a client says what only the edge can know: neither policy nor service sees them, or the request is refused.
func TestAdvisoriesOfHeadersThroughEnvoy(t *testing.T) {
	t.Parallel()
	e := startHeaders(t)
	for id, attempts := range headerAdvisories(t, e) {
		t.Run(id, func(t *testing.T) {
			for _, attempt := range attempts {
				if wrong := e.wrong(t, attempt); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
	t.Run("CVE-2021-21378", func(t *testing.T) { // a token is optional; one of somebody nobody knows is not none
		o := newEdge(t, "identity: optional\n")
		o.startHere(t)
		o.startEnvoy(t)
		o.await(t, http.StatusOK, "/public")
		before := o.service.Count()
		for _, bearer := range []string{o.bearer(t, "iss", "https://elsewhere.example"), o.bearer(t, "iss", nil), "Authorization: Bearer a.b.c"} {
			if a := o.get(t, "/public", bearer); a.Status != http.StatusUnauthorized || o.service.Count() != before {
				t.Errorf("status %d, want 401", a.Status)
			}
		}
	})
}

// The test above has teeth: each of these options of Envoy is what keeps some of its advisories away.
func TestHeaderOptionsKeepAdvisoriesAway(t *testing.T) {
	t.Parallel()
	const remove = "                        - remove"
	for option, ids := range map[string][]string{
		remove + "_on_match: { key_matcher: { prefix: x-envoy-, ignore_case: true } }\n": {"CVE-2024-45806"}, // x-envoy-original-path of strangers Envoy removes by itself, too

		"                use_remote_address: true\n": {"CVE-2024-45806"},
		remove + ": x-forwarded-uri\n":               {"CVE-2026-40575"},
		remove + ": x-forwarded-host\n":              {"CVE-2026-33495"},
		"                  headers_with_underscores_action: REJECT_REQUEST # many services read x_agent_id and x-agent-id alike\n": {"CVE-2025-64484"},
	} {
		t.Run(strings.Trim(option, " -\n"), func(t *testing.T) {
			t.Parallel()
			e := startHeaders(t, func(doc string) string { return replaceOnce(t, doc, option, "") })
			advisories := headerAdvisories(t, e)
			for _, id := range ids {
				if !slices.ContainsFunc(advisories[id], func(a headerAttempt) bool { return e.wrong(t, a) != "" }) {
					t.Errorf("without it %s holds all the same", id)
				}
			}
		})
	}
}

// Hosts that are one for whoever answers, and were two for whoever decided.
func TestAdvisoriesOfHostsThroughEnvoy(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "policy: {dir: policies, timeout: 200ms}\n")
	e.write(t, "policies/authz.rego", "package agentidp.authz\n\ndefault allow := false\n\nallow if input.parsed_host != \"admin.example\"\n")
	e.startHere(t)
	e.startEnvoy(t)
	bearer := e.bearer(t)
	e.await(t, http.StatusOK, "/", bearer)
	for id, hosts := range map[string][]string{
		"CVE-2021-39155":          {"admin.example", "ADMIN.example", "Admin.Example", "aDmIn.eXaMpLe:80"},
		"ISTIO-SECURITY-2021-008": {"admin.example:80", "admin.example:8080", "admin.example.", "ADMIN.EXAMPLE.:443"},
	} {
		t.Run(id, func(t *testing.T) {
			for _, host := range hosts {
				for _, head := range []string{"GET / HTTP/1.1\r\nHost: " + host + "\r\n", "GET http://" + host + "/ HTTP/1.1\r\nHost: service.example\r\n"} {
					before := e.service.Count()
					if a := rawhttp.Send(t, e.address, head+"Connection: close\r\n"+bearer+"\r\n\r\n"); a.Status != http.StatusForbidden || e.service.Count() != before {
						t.Errorf("%q: status %d, want 403", head, a.Status)
					}
				}
				before := e.service.Count()
				if a := rawhttp.Send2(t, e.address, over2(bearer, ":authority", host, ":path", "/"), nil); a.Status != http.StatusForbidden || e.service.Count() != before {
					t.Errorf("%q over HTTP/2: status %d, want 403", host, a.Status)
				}
			}
		})
	}
}

// Requests that ended a process: it is alive, and decides.
func TestAdvisoriesOfCrashesThroughEnvoy(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	bearer := e.bearer(t) + "\r\n"
	const get = "GET /orders/1 HTTP/1.1\r\nHost: a\r\n"
	for id, raws := range map[string][]string{
		"CVE-2026-73547": {"CONNECT orders:443 HTTP/1.1\r\nHost: orders:443\r\n" + bearer + "\r\n", "CONNECT / HTTP/1.1\r\nHost: a\r\n" + bearer + "\r\n"},
		"CVE-2026-50572": {"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n", "* * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + bearer + "\r\n"},
		"CVE-2025-64763": {get + "Connection: upgrade\r\nUpgrade: websocket\r\n" + bearer + "\r\nGET /admin HTTP/1.1\r\n\r\n"},
		"CVE-2026-73548": {get + "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + bearer + "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		"CVE-2023-27493": {get + "Connection: close\r\nx-odd: a\rx-agent-id: forged\r\n" + bearer + "\r\n"},
	} {
		t.Run(id, func(t *testing.T) {
			for _, raw := range raws {
				before := e.service.Count()
				a := rawhttp.Send(t, e.address, raw)
				switch {
				case e.service.Count() == before && (a.Status == http.StatusOK || a.Status == http.StatusServiceUnavailable):
					t.Errorf("%q: status %d without reaching the service", raw, a.Status)
				case e.service.Count() > before+1:
					t.Errorf("%q: one request became %d", raw, e.service.Count()-before)
				case e.service.Count() > before:
					got := strings.ReplaceAll(e.service.Got(), "\r\n", "")
					if strings.Contains(got, "\r") || strings.Contains(got, "/admin") || !slices.Equal(e.service.Values("x-agent-id"), []string{"agt_1"}) {
						t.Errorf("%q: the service got %q", raw, e.service.Got())
					}
				}
			}
			if a := e.get(t, "/orders/1", e.bearer(t)); a.Status != http.StatusOK {
				t.Errorf("afterwards a good request gets %d", a.Status)
			}
		})
	}
}

// perRoute are settings of ext_authz for single routes, of every kind that there is.
const perRoute = "typed_per_filter_config: { envoy.filters.http.ext_authz: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, "

// Settings of ext_authz for single routes ended Envoy: with each kind of them it lives, and each route is decided as it says.
func TestAdvisoriesOfRoutesThroughEnvoy(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.startHere(t)
	e.startEnvoy(t, func(doc string) string {
		route := func(prefix, settings string) string {
			return "                        - { match: { prefix: " + prefix + " }, route: { cluster: service }, " + perRoute + settings + " } } }\n"
		}
		return replaceOnce(t, doc, "                      routes:\n", "                      routes:\n"+
			route("/open", "disabled: true")+
			route("/orders/extension", "check_settings: { context_extensions: { tier: gold } }")+
			route("/orders/empty", "check_settings: {}")+
			route("/orders/body", "check_settings: { with_request_body: { max_request_bytes: 64, allow_partial_message: true } }")+
			route("/orders/nobody", "check_settings: { disable_request_body_buffering: true }")+
			route("/orders/service", "check_settings: { grpc_service: { envoy_grpc: { cluster_name: extauthz }, timeout: 5s } }")+
			route("/orders/nowhere", "check_settings: { grpc_service: { envoy_grpc: { cluster_name: service }, timeout: 1s } }"))
	})
	bearer := e.bearer(t)
	e.await(t, http.StatusOK, "/orders/1", bearer)
	t.Run("CVE-2026-47205", func(t *testing.T) {
		for target, want := range map[string][2]int{ // without a token, with one
			"/open":             {200, 200},
			"/orders/extension": {401, 200},
			"/orders/empty":     {401, 200},
			"/orders/body":      {401, 200},
			"/orders/nobody":    {401, 200},
			"/orders/service":   {401, 200},
			"/orders/nowhere":   {503, 503}, // whoever is asked there knows nothing of checks
			"/orders/1":         {401, 200},
		} {
			for range 5 {
				for n, headers := range [][]string{nil, {bearer}} {
					before := e.service.Count()
					a := e.get(t, target, headers...)
					if a.Status != want[n] || (target != "/orders/nowhere" && (e.service.Count() != before) != (want[n] == 200)) {
						t.Errorf("%s, token %v: status %d, want %d", target, n == 1, a.Status, want[n])
					}
				}
				// A body that does not come, and a client that does not wait.
				head := target + " HTTP/1.1\r\nHost: a\r\n" + bearer + "\r\n"
				c, err := net.Dial("tcp", e.address)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(c, "GET %sContent-Length: 100\r\n\r\n%s", head, strings.Repeat("x", 50))
				c.Close()
				rawhttp.Send(t, e.address, "GET "+head+"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
			}
		}
		if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusOK {
			t.Errorf("afterwards a good request gets %d", a.Status)
		}
	})
}

// Odd tokens ended whoever fetched the keys for them. Here keys come by URL too, while it answers, errs, and is gone; requests never wait for it.
func TestAdvisoriesOfKeysByURL(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "issuers: later\n")
	issuer, ca := startIssuer(t, e.signer)
	e.write(t, "extauthz.yaml", fmt.Sprintf("listen: unix://%s\nstateDir: state\npolicy: {dir: policies, timeout: 200ms}\nissuers:\n  - {issuer: %q, audiences: [%q], jwks: {url: %s/keys, ca: %s}}\n",
		e.socket, edgeIssuer, edgeAudience, issuer.URL, ca))
	p := e.startBinary(t)
	e.startEnvoy(t)
	good := e.token(t)
	e.await(t, http.StatusOK, "/orders/1", "Authorization: Bearer "+good)
	parts := strings.Split(good, ".")
	stranger := strings.Replace(good, parts[0], base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"at+jwt","alg":"ES256","kid":"unknown"}`)), 1)
	ids := map[string][]string{
		"CVE-2024-45809": {"..", "....", parts[0] + "..", "." + parts[1] + ".", stranger},
		"CVE-2019-12995": {"", ".", strings.Repeat(".", 4000), parts[0], parts[0] + "." + parts[1]},
		"CVE-2025-64527": {stranger, good + "." + good, parts[0] + "." + parts[1] + "." + parts[2] + "." + parts[2], good[:len(good)/2]},
	}
	for n, id := range slices.Sorted(maps.Keys(ids)) {
		t.Run(id, func(t *testing.T) {
			for _, token := range ids[id] {
				before := e.service.Count()
				if a := e.get(t, "/orders/1", "Authorization: Bearer "+token); !statusIn(a.Status, 400, 401) || e.service.Count() != before {
					t.Errorf("%.40q: status %d", token, a.Status)
				}
				if a := e.get(t, "/orders/1", "Authorization: Bearer "+good, "Authorization: Bearer "+token); !statusIn(a.Status, 400, 401) || e.service.Count() != before {
					t.Errorf("a good one and %.40q: status %d", token, a.Status)
				}
			}
			if a := e.get(t, "/orders/1", "Authorization: Bearer "+good); a.Status != http.StatusOK {
				t.Errorf("afterwards a good request gets %d", a.Status)
			}
			if strings.Contains(logOf(t, p), "panic") {
				t.Error("a panic is in the log")
			}
		})
		if n == 0 { // the next odd tokens come while the URL errs, those after them while nobody answers
			issuer.publish(func() { issuer.keys = []byte("<html>") })
		} else {
			issuer.Close()
		}
	}
}

// An identity with a dot in it was made into a regular expression (Istio). Ours are compared as they are.
func TestAdvisoryOfIdentitiesAsPatterns(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "")
	t.Run("CVE-2026-39350", func(t *testing.T) {
		for name, changes := range map[string][]any{
			"issuer":           {"iss", strings.Replace(edgeIssuer, ".", "x", 1)},
			"issuer, longer":   {"iss", edgeIssuer + "x"},
			"issuer, anywhere": {"iss", "https://evil.example/" + edgeIssuer},
			"issuer, case":     {"iss", strings.ToUpper(edgeIssuer)},
			"issuer, slash":    {"iss", edgeIssuer + "/"},
			"audience":         {"aud", strings.Replace(edgeAudience, ":", ".", 1)},
			"audience, longer": {"aud", edgeAudience + "x"},
			"audience, parts":  {"aud", []string{edgeAudience[:4], edgeAudience[4:]}},
			"audience, any":    {"aud", ".*"},
		} {
			before := e.service.Count()
			if a := e.get(t, "/orders/1", e.bearer(t, changes...)); a.Status != http.StatusUnauthorized || e.service.Count() != before {
				t.Errorf("%s: status %d", name, a.Status)
			}
		}
	})
}

// OpenBao answered with a list of revocations that it had not read yet. Here nothing is ready before the list is, and no token is believed.
func TestAdvisoryOfListsThatAreNotRead(t *testing.T) {
	t.Parallel()
	p := &ports{edge: newEdge(t, "issuers: later\n")}
	issuer, ca := startIssuer(t, p.signer)
	issuer.more = ",," // no list
	p.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
stateDir: state
metrics: {listen: "127.0.0.1:0"}
policy: {dir: policies, timeout: 200ms}
issuers:
  - issuer: %s
    audiences: [%q]
    jwks: {url: %s/keys, ca: %s}
    revocations: {url: %[4]s/revoked, ca: %[5]s, interval: 100ms}
`, p.socket, edgeIssuer, edgeAudience, issuer.URL, ca))
	t.Run("CVE-2022-41316", func(t *testing.T) {
		p.start(t)
		p.startEnvoy(t)
		bearer := p.bearer(t)
		awaitThat(t, "keys are there and the list is not", func() bool {
			status, body := httpGet(t, "http://"+p.metrics+"/readyz")
			return status == http.StatusServiceUnavailable && strings.Contains(body, "revocation list of "+edgeIssuer) && !strings.Contains(body, "keys of")
		})
		for range 5 {
			if a := p.get(t, "/orders/1", bearer); a.Status != http.StatusServiceUnavailable || p.service.Count() != 0 {
				t.Errorf("without a list: status %d, want 503", a.Status)
			}
		}
		issuer.publish(func() { issuer.more, issuer.list.Agents = "", []trust.Agent{{ID: "agt_2"}} })
		p.await(t, http.StatusOK, "/orders/1", bearer)
		p.await(t, http.StatusUnauthorized, "/orders/1", p.bearer(t, "sub", "agt_2"))
		if status, body := httpGet(t, "http://"+p.metrics+"/readyz"); status != http.StatusOK {
			t.Errorf("/readyz: %d %s", status, body)
		}
	})
}
