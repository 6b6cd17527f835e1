package extauthz_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// ordersPolicy allows any method below /orders, so that requests with a body get through.
const ordersPolicy = `package agentidp.authz

default allow := false

allow if {
	input.parsed_path[0] == "orders"
	"orders:read" in input.identity.scopes
}
`

func newReader(text string) *bufio.Reader {
	return bufio.NewReaderSize(strings.NewReader(text), max(16, len(text)))
}

// Forms of requests that two parsers may cut apart at different places. What reaches the service is one request, the one that was decided.
func TestEdgeFramingHasOneMeaning(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.write(t, "policies/authz.rego", ordersPolicy)
	e.startHere(t)
	e.startEnvoy(t)
	bearer := e.bearer(t)
	e.await(t, http.StatusOK, "/orders/1", bearer)
	const hidden = "GET /admin HTTP/1.1\r\nHost: a\r\nx-agent-id: forged\r\n\r\n"
	head := "POST /orders/1 HTTP/1.1\r\nHost: a\r\n" + bearer + "\r\n"
	for name, raw := range map[string]string{
		"CL and TE":                  head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE and CL":                  head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + "5c\r\n" + hidden + "\r\n0\r\n\r\n",
		"TE twice":                   head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
		"TE list":                    head + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE with space":              head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE with tab":                head + "Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + hidden,
		"TE with vertical tab":       head + "Transfer-Encoding: \x0bchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + hidden,
		"TE quoted":                  head + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + hidden,
		"TE by underscore":           head + "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + hidden,
		"TE folded":                  head + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE in HTTP/1.0":             strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"two CL":                     head + "Content-Length: 0\r\nContent-Length: 55\r\n\r\n" + hidden,
		"CL list":                    head + "Content-Length: 0, 55\r\n\r\n" + hidden,
		"CL with plus":               head + "Content-Length: +0\r\n\r\n" + hidden,
		"CL negative":                head + "Content-Length: -1\r\n\r\n" + hidden,
		"CL hexadecimal":             head + "Content-Length: 0x0\r\n\r\n" + hidden,
		"CL beyond 64 bits":          head + "Content-Length: 18446744073709551616\r\n\r\n" + hidden,
		"chunk size with 0x":         head + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + hidden,
		"chunk size beyond 64 bits":  head + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + hidden,
		"chunk extension with LF":    head + "Transfer-Encoding: chunked\r\n\r\n0;a\n\r\n\r\n" + hidden,
		"chunk ended by LF":          head + "Transfer-Encoding: chunked\r\n\r\n0\n\n" + hidden,
		"head ended by LF":           strings.ReplaceAll(head, "\r\n", "\n") + "\n" + hidden,
		"LF before the colon":        head + "x-odd\n: 1\r\n\r\n" + hidden,
		"folded header":              head + "x-odd: 1\r\n x-agent-id: agt_2\r\n\r\n",
		"header without colon":       head + "x-odd\r\n\r\n" + hidden,
		"line before the request":    "\r\n" + head + "Content-Length: 0\r\n\r\n",
		"trailer in HTTP/1.1":        head + "TE: trailers\r\nTrailer: x-agent-id\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-agent-id: forged\r\n\r\n",
		"body is a request":          head + "Content-Length: 5\r\n\r\nGET /",
		"Expect":                     head + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"Expect something else":      head + "Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc",
		"early data":                 strings.Replace(head, "POST", "GET", 1) + "Early-Data: 1\r\n\r\n",
		"early data, and a request":  strings.Replace(head, "POST", "GET", 1) + "Early-Data: 1\r\n\r\n" + hidden,
		"websocket":                  strings.Replace(head, "POST", "GET", 1) + "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" + hidden,
		"websocket, more hop by hop": strings.Replace(head, "POST", "GET", 1) + "Connection: upgrade, x-agent-id\r\nUpgrade: websocket\r\n\r\n" + hidden,
		"h2c":                        strings.Replace(head, "POST", "GET", 1) + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + hidden,
		"TLS in plain HTTP":          strings.Replace(head, "POST", "GET", 1) + "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n" + hidden,
		"CONNECT":                    strings.Replace(head, "POST /orders/1", "CONNECT orders:443", 1) + "\r\n" + hidden,
		"CONNECT of a path":          strings.Replace(head, "POST /orders/1", "CONNECT /orders/1", 1) + "\r\n" + hidden,
		"CONNECT of nothing":         strings.Replace(head, "POST /orders/1", "CONNECT ", 1) + "\r\n" + hidden,
		"OPTIONS *":                  strings.Replace(head, "POST /orders/1", "OPTIONS *", 1) + "\r\n" + hidden,
		"no target":                  strings.Replace(head, "POST /orders/1", "POST", 1) + "\r\n" + hidden,
		"HTTP/0.9":                   "GET /orders/1\r\n" + hidden,
		"HTTP/1.2":                   strings.Replace(head, "HTTP/1.1", "HTTP/1.2", 1) + "\r\n" + hidden,
		"HTTP/2.0 in a line":         strings.Replace(head, "HTTP/1.1", "HTTP/2.0", 1) + "\r\n" + hidden,
		"PRI and no more":            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden,
	} {
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, raw)
		if e.service.Count() == before {
			if a.Status == http.StatusOK || a.Status == http.StatusServiceUnavailable {
				t.Errorf("%s: status %d without reaching the service", name, a.Status)
			}
			continue
		}
		if err := oneRequest(e.service.Got(), "/orders/1"); err != nil || e.service.Count() != before+1 {
			t.Errorf("%s: %v: the service got %q", name, err, e.service.Got())
		}
	}
	if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusOK {
		t.Errorf("afterwards a good request gets %d", a.Status)
	}
}
