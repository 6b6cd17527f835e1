package extauthz_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// What passes undecided reaches the service without a word about who sent it; everything near it is decided about.
func TestEdgeBypasses(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "cors: {preflight: service}\nhealth: [{method: GET, path: /ready}]\n")
	genuine := "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n"
	forged := "X-Agent-Id: forged\r\nx-agent-scopes: forged\r\nX-Forwarded-Client-Cert: By=forged\r\n"
	for name, tc := range map[string]struct {
		request string
		passes  bool
	}{
		"health":                     {"GET /ready HTTP/1.1\r\n", true},
		"health, normalised":         {"GET /x/..//ready HTTP/1.1\r\n", true},
		"health, forged":             {"GET /ready HTTP/1.1\r\n" + forged + "Authorization: Bearer forged\r\nDPoP: forged\r\n", true},
		"health, a query":            {"GET /ready?/admin HTTP/1.1\r\n", false},
		"health, a parameter":        {"GET /ready;/../orders/1 HTTP/1.1\r\n", false},
		"health, an encoded slash":   {"GET /ready%2F..%2Forders HTTP/1.1\r\n", false},
		"health, below":              {"GET /ready/../orders/1 HTTP/1.1\r\n", false},
		"health, another path named": {"GET /orders/1 HTTP/1.1\r\nX-Original-Url: /ready\r\nX-Envoy-Original-Path: /ready\r\n", false},
		"health, a body":             {"GET /ready HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", false},
		"preflight":                  {"OPTIONS /orders/1 HTTP/1.1\r\n" + genuine, true},
		"preflight, forged":          {"OPTIONS /orders/1 HTTP/1.1\r\n" + genuine + forged, true},
		"preflight, a token":         {"OPTIONS /orders/1 HTTP/1.1\r\n" + genuine + "Authorization: Bearer a.b.c\r\n", false},
		"preflight, two origins":     {"OPTIONS /orders/1 HTTP/1.1\r\n" + genuine + "Origin: https://b.example\r\n", false},
		"preflight, a body":          {"OPTIONS /orders/1 HTTP/1.1\r\n" + genuine + "Content-Length: 2\r\n\r\nab", false},
		"plain OPTIONS":              {"OPTIONS /orders/1 HTTP/1.1\r\nOrigin: https://app.example\r\n", false},
		"a GET that looks like one":  {"GET /orders/1 HTTP/1.1\r\n" + genuine, false},
		"a method in another header": {"POST /orders/1 HTTP/1.1\r\nX-Http-Method-Override: OPTIONS\r\n" + genuine, false},
	} {
		line, rest, _ := strings.Cut(tc.request, "\r\n")
		raw := line + "\r\nHost: service.example\r\nConnection: close\r\n" + rest
		if !strings.Contains(raw, "\r\n\r\n") {
			raw += "\r\n"
		}
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, raw)
		switch reached := e.service.Count() != before; {
		case reached != tc.passes || tc.passes != (a.Status == http.StatusOK):
			t.Errorf("%s: status %d, service reached: %v, want %v", name, a.Status, reached, tc.passes)
		case reached && (strings.Contains(e.service.Got(), "forged") || e.service.Values("authorization") != nil):
			t.Errorf("%s: the service got %q", name, e.service.Got())
		}
	}
}

// Bodies that are not announced are seen where Envoy sends bodies.
func TestEdgeBypassesHaveNoBody(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "cors: {preflight: service}\nhealth: [{method: GET, path: /ready}]\n")
	e.startHere(t)
	e.startEnvoyWithBodies(t)
	genuine := "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n"
	for request, passes := range map[string]bool{
		"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                                                                         true,
		"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n":                       false,
		"OPTIONS /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + genuine + "\r\n":                                                   true,
		"OPTIONS /orders/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + genuine + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n": false,
	} {
		before := e.service.Count()
		if a := rawhttp.Send(t, e.address, request); (e.service.Count() != before) != passes {
			t.Errorf("%q: status %d, want it to reach the service: %v", request, a.Status, passes)
		}
	}
}
