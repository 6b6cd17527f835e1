package extauthz_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// sawHeadersPolicy allows what ordersPolicy allows, and lets the service know which host and headers it was shown.
const sawHeadersPolicy = ordersPolicy + `
decision := {"allowed": allow, "headers": {
	"x-saw": base64.encode(json.marshal(object.remove(input.attributes.request.http, ["headers", "id"]))),
	"x-saw-headers": base64.encode(json.marshal(input.attributes.request.http.headers)),
}}
`

// startSeen is an edge whose service is told what the policy saw.
func startSeen(t *testing.T) *edge {
	t.Helper()
	e := newEdge(t, "policy: {dir: policies, timeout: 200ms, path: agentidp/authz/decision}\n")
	e.write(t, "policies/authz.rego", sawHeadersPolicy)
	e.startHere(t)
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	return e
}

// seen is what the service was told by sawHeadersPolicy.
func (e *edge) seen(t *testing.T) (host string, headers map[string]string) {
	t.Helper()
	var request struct{ Host string }
	for name, into := range map[string]any{"x-saw": &request, "x-saw-headers": &headers} {
		values := e.service.Values(name)
		if len(values) != 1 {
			t.Fatalf("%s: %q", name, values)
		}
		doc, err := base64.StdEncoding.DecodeString(values[0])
		if err == nil {
			err = json.Unmarshal(doc, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return request.Host, headers
}

// The policy is shown one host, and the service gets that one, whatever spellings and other places a client names hosts in.
func TestEdgeHostsHaveOneMeaning(t *testing.T) {
	t.Parallel()
	e := startSeen(t)
	bearer := e.bearer(t)
	reached := 0
	for name, head := range map[string]string{
		"upper case":          "GET /orders/1 HTTP/1.1\r\nHost: SERVICE.Example\r\n",
		"port":                "GET /orders/1 HTTP/1.1\r\nHost: service.example:80\r\n",
		"other port":          "GET /orders/1 HTTP/1.1\r\nHost: service.example:99999\r\n",
		"port that is none":   "GET /orders/1 HTTP/1.1\r\nHost: service.example:a\r\n",
		"trailing dot":        "GET /orders/1 HTTP/1.1\r\nHost: service.example.\r\n",
		"user":                "GET /orders/1 HTTP/1.1\r\nHost: forged@service.example\r\n",
		"path":                "GET /orders/1 HTTP/1.1\r\nHost: service.example/forged\r\n",
		"query":               "GET /orders/1 HTTP/1.1\r\nHost: service.example?forged\r\n",
		"fragment":            "GET /orders/1 HTTP/1.1\r\nHost: service.example#forged\r\n",
		"two in one":          "GET /orders/1 HTTP/1.1\r\nHost: service.example, forged\r\n",
		"two":                 "GET /orders/1 HTTP/1.1\r\nHost: service.example\r\nHost: forged\r\n",
		"two spellings":       "GET /orders/1 HTTP/1.1\r\nHost: service.example\r\nHOST: forged\r\n",
		"space inside":        "GET /orders/1 HTTP/1.1\r\nHost: service .example\r\n",
		"space before":        "GET /orders/1 HTTP/1.1\r\nHost : service.example\r\n",
		"not ASCII":           "GET /orders/1 HTTP/1.1\r\nHost: s\xc3\xa9rvice.example\r\n",
		"not UTF-8":           "GET /orders/1 HTTP/1.1\r\nHost: service\xff.example\r\n",
		"escaped":             "GET /orders/1 HTTP/1.1\r\nHost: service%2eexample\r\n",
		"address":             "GET /orders/1 HTTP/1.1\r\nHost: [::1]:80\r\n",
		"long":                "GET /orders/1 HTTP/1.1\r\nHost: " + strings.Repeat("a", 300) + "\r\n",
		"empty":               "GET /orders/1 HTTP/1.1\r\nHost:\r\n",
		"absolute, the same":  "GET http://service.example/orders/1 HTTP/1.1\r\nHost: service.example\r\n",
		"absolute, another":   "GET http://service.example/orders/1 HTTP/1.1\r\nHost: forged\r\n",
		"absolute, user":      "GET http://forged@service.example/orders/1 HTTP/1.1\r\nHost: service.example\r\n",
		"x-forwarded-host":    "GET /orders/1 HTTP/1.1\r\nHost: service.example\r\nX-Forwarded-Host: forged\r\n",
		"x-host and its like": "GET /orders/1 HTTP/1.1\r\nHost: service.example\r\nForwarded: host=forged\r\n",
	} {
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, head+"Connection: close\r\n"+bearer+"\r\n\r\n")
		if e.service.Count() == before {
			if !statusIn(a.Status, refused...) {
				t.Errorf("%s: status %d without reaching the service", name, a.Status)
			}
			continue
		}
		reached++
		host, headers := e.seen(t)
		if got := e.service.Values("host"); !slices.Equal(got, []string{host}) || headers[":authority"] != host || strings.Contains(host, "forged") || strings.Contains(e.service.Got(), "forged") {
			t.Errorf("%s: the policy saw %q, the service got %q", name, host, e.service.Got())
		}
	}
	for name, changes := range map[string][]string{
		"host beside authority":     {"host", "forged"},
		"host without authority":    {":authority", "-", "host", "service.example"},
		"two hosts, no authority":   {":authority", "-", "host", "service.example", "host", "forged"},
		"forwarded in several ways": {"x-forwarded-host", "forged", "forwarded", "host=forged"},
	} {
		before := e.service.Count()
		a := rawhttp.Send2(t, e.address, over2(bearer, changes...), nil)
		if e.service.Count() == before {
			if a.Status != 0 && !statusIn(a.Status, refused...) {
				t.Errorf("%s: status %d without reaching the service", name, a.Status)
			}
			continue
		}
		reached++
		host, _ := e.seen(t)
		if got := e.service.Values("host"); !slices.Equal(got, []string{host}) || host != "service.example" || strings.Contains(e.service.Got(), "forged") {
			t.Errorf("%s: the policy saw %q, the service got %q", name, host, e.service.Got())
		}
	}
	if reached < 8 {
		t.Errorf("only %d requests got through: the test proves little", reached)
	}
}

// A policy that names one host to keep callers away from it: whoever asks for that host, in whatever spelling, is kept away.
func TestEdgeHostsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "policy: {dir: policies, timeout: 200ms}\n")
	e.write(t, "policies/authz.rego", "package agentidp.authz\n\ndefault allow := false\n\nallow if input.parsed_host != \"admin.example\"\n")
	e.startHere(t)
	e.startEnvoy(t)
	bearer := e.bearer(t)
	e.await(t, http.StatusOK, "/", bearer)
	for host, want := range map[string]int{
		"admin.example": 403, "ADMIN.example": 403, "admin.example.": 403, "admin.example:80": 403, "Admin.Example.:443": 403, "admin.example:8080": 403,
		"admin.example..": 400, "user@admin.example": 400, "admin..example": 400, "admin.example:": 400, "admin.example:a": 400, "admin%2eexample": 400,
		"admin.example\x00": 400, "127.1": 400, "": 400,
		"service.example": 200, "Service.example:8080": 200, "admin.example.org": 200, "[::1]:80": 200,
	} {
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n"+bearer+"\r\n\r\n")
		if reached := e.service.Count() != before; a.Status != want && (want != 400 || !statusIn(a.Status, refused...)) || reached != (want == http.StatusOK) {
			t.Errorf("%q: status %d, service reached: %v; want %d", host, a.Status, reached, want)
		}
	}
}

// What only a proxy in front could know, said by a client, reaches neither policy nor service.
func TestEdgeForwardedHeadersAreDropped(t *testing.T) {
	t.Parallel()
	e := startSeen(t)
	for _, header := range []string{
		"x-forwarded-host: forged", "x-forwarded-uri: /forged", "x-original-url: /forged", "x-rewrite-url: /forged", "x-original-uri: /forged", "x-original-path: /forged",
		"x-envoy-original-path: /forged", "x-envoy-original-dst-host: forged", "x-envoy-decorator-operation: forged", "x-envoy-peer-metadata: forged", "x-envoy-expected-rq-timeout-ms: 1",
		"x-envoy-auth-partial-body: forged", "x-envoy-internal: forged", "x-envoy-external-address: forged", "x-envoy-retry-on: forged", "x-envoy-upstream-rq-timeout-ms: 1",
		"forwarded: for=forged;host=forged", "x-forwarded-client-cert: By=forged", "x-forwarded-proto: forged", "x-http-method-override: FORGED", "x-method-override: FORGED", "x-http-method: FORGED",
	} {
		name, _, _ := strings.Cut(header, ":")
		before := e.service.Count()
		a := e.get(t, "/orders/1", e.bearer(t), header, strings.ToUpper(name)+header[len(name):])
		if e.service.Count() == before {
			if !statusIn(a.Status, refused...) {
				t.Errorf("%s: status %d without reaching the service", header, a.Status)
			}
			continue
		}
		_, headers := e.seen(t)
		if value, shown := headers[name]; shown && (strings.Contains(strings.ToLower(value), "forged") || value == "1") {
			t.Errorf("%s: the policy saw %q", header, value)
		}
		if slices.ContainsFunc(e.service.Values(name), func(v string) bool { return strings.Contains(strings.ToLower(v), "forged") || v == "1" }) {
			t.Errorf("%s: the service got %q", header, e.service.Got())
		}
	}
}

// Oddities of values: a request is refused, or policy and service see the same values, apart and in order.
func TestEdgeHeaderValuesHaveOneMeaning(t *testing.T) {
	t.Parallel()
	e := startSeen(t)
	bearer := e.bearer(t)
	reached := 0
	for name, lines := range map[string][]string{
		"twice":               {"x-odd: a", "x-odd: b"},
		"joined":              {"x-odd: a,b", "x-odd: c"},
		"empty between":       {"x-odd: a", "x-odd:", "x-odd: b"},
		"cookies apart":       {"cookie: a=1", "cookie: b=2"},
		"tab":                 {"x-odd: a\tb"},
		"not ASCII":           {"x-odd: \xc3\xa9"},
		"not UTF-8":           {"x-odd: \xff\xfe"},
		"overlong UTF-8":      {"x-odd: \xc0\xaf"},
		"NUL":                 {"x-odd: a\x00b"},
		"bell":                {"x-odd: a\x07b"},
		"vertical tab":        {"x-odd: a\x0bb"},
		"DEL":                 {"x-odd: a\x7fb"},
		"CR":                  {"x-odd: a\rb"},
		"LF":                  {"x-odd: a\nb"},
		"space in a name":     {"x odd: a"},
		"name not ASCII":      {"x-\xc3\xa9: a"},
		"no name":             {": a"},
		"spaces around":       {"x-odd:   a   "},
		"one of 60 KiB":       {"x-odd: " + strings.Repeat("a", 60<<10)},
		"70 of them":          slices.Repeat([]string{"x-odd: a"}, 70),
		"101 of them":         slices.Repeat([]string{"x-odd: a"}, 101),
		"type twice":          {"content-type: a/b", "content-type: c/d"},
		"a name of 300 bytes": {strings.Repeat("x", 300) + ": a"},
		"origin twice":        {"origin: https://a.example", "origin: https://b.example"},
		"proof twice":         {"dpop: a", "dpop: b"},
	} {
		before := e.service.Count()
		a := e.get(t, "/orders/1", append([]string{bearer}, lines...)...)
		if e.service.Count() == before {
			if !statusIn(a.Status, refused...) {
				t.Errorf("%s: status %d without reaching the service", name, a.Status)
			}
			continue
		}
		reached++
		_, headers := e.seen(t)
		for _, line := range lines {
			header, _, _ := strings.Cut(line, ":")
			if got := strings.Join(e.service.Values(header), ","); headers[header] != got {
				t.Errorf("%s: the policy saw %q, the service got %q", name, headers[header], got)
			}
		}
	}
	if reached < 8 {
		t.Errorf("only %d requests got through: the test proves little", reached)
	}
}

// Trailers are sent on to a service that speaks HTTP/2. With the shipped configuration none of them speaks for us.
func TestEdgeTrailersAreNotIdentity(t *testing.T) {
	t.Parallel()
	const line = `                          - remove_on_match: { key_matcher: { safe_regex: { regex: "(?i)x[^a-z0-9]agent.*" } } }` + "\n"
	for name, tc := range map[string]struct {
		edit func(doc string) string
		want []string
	}{
		"shipped": {func(doc string) string { return doc }, nil},
		"without": {func(doc string) string { return replaceOnce(t, doc, line, line[:26]+"- remove: x-other\n") }, []string{"forged"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, "")
			arrived := serveHTTP2(t, e)
			e.startHere(t)
			e.startEnvoy(t, tc.edit, func(doc string) string {
				return replaceOnce(t, doc, "      connect_timeout: 1s\n", "      connect_timeout: 1s\n"+serviceOverHTTP2)
			})
			bearer := e.bearer(t)
			e.await(t, http.StatusOK, "/orders/1", bearer)
			a := rawhttp.Send2(t, e.address, over2(bearer, "trailer", "x-agent-id, x-agent-role, x.agent.id, x-odd"), []string{"x-agent-id", "forged", "x-agent-role", "forged", "x.agent.id", "forged", "x-odd", "1"})
			r := arrived()
			if a.Status != http.StatusOK || !slices.Equal(r.Header.Values("X-Agent-Id"), []string{"agt_1"}) || r.Trailer.Get("X-Odd") != "1" {
				t.Errorf("status %d, the service got %v and %v", a.Status, r.Header, r.Trailer)
			}
			if got := r.Trailer; !slices.Equal(got["X-Agent-Id"], tc.want) || !slices.Equal(got["X-Agent-Role"], tc.want) || !slices.Equal(got["X.agent.id"], tc.want) {
				t.Errorf("the service got the trailers %v, want %v of ours", got, tc.want)
			}
		})
	}
}

const serviceOverHTTP2 = `      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
`

// serveHTTP2 puts a service that speaks HTTP/2 behind the edge; the function returned gives the last request it has read to its end.
func serveHTTP2(t *testing.T, e *edge) (arrived func() *http.Request) {
	t.Helper()
	var last atomic.Pointer[http.Request]
	server := &http.Server{ReadHeaderTimeout: edgeWait, Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // trailers are known after the body
		last.Store(r)
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	e.service.Address = l.Addr().String()
	return last.Load
}
