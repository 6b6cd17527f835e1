package extauthz_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

const bodyPolicy = `package agentidp.authz
default allow := false
allow if { input.identity; not input.parsed_body.blocked; not input.parsed_body.name == "blocked" }
`

// startBodies is a world whose policy denies bodies with a member "blocked", and an Envoy that sends bodies in one way.
func startBodies(t *testing.T, withRequestBody string) *edge {
	t.Helper()
	e := newEdge(t, "policy: {dir: policies, timeout: 200ms, protoDescriptor: sink.pb}\n")
	e.writeDescriptors(t)
	e.write(t, "policies/authz.rego", bodyPolicy)
	e.startHere(t)
	e.startEnvoy(t, func(doc string) string {
		return replaceOnce(t, doc, "# with_request_body: { max_request_bytes: 65536, allow_partial_message: false, pack_as_bytes: true }", "with_request_body: "+withRequestBody)
	})
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	return e
}

// post writes a request as it is.
func (e *edge) post(t *testing.T, path, contentType, headers, body string) rawhttp.Answer {
	t.Helper()
	return rawhttp.Send(t, e.address, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\nContent-Type: %s\r\n%s\r\n%s", path, e.bearer(t), contentType, headers, body))
}

func lengthOf(body string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(body)) }

// chunked is a body in chunks of the given texts.
func chunked(chunks ...string) string {
	var b strings.Builder
	for _, c := range chunks {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
	}
	return b.String() + "0\r\n\r\n"
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.String()
}

// frame is one gRPC message of the test's method with a name in it.
func frame(name string) string {
	message := "\x0a" + string(rune(len(name))) + name // FieldDescriptorProto.name
	return "\x00\x00\x00\x00" + string(rune(len(message))) + message
}

// E6, with an Envoy that sends what it has of a body: what the policy decides by is what the service gets, or the service is not
// reached.
func TestEdgeBodiesCutOff(t *testing.T) {
	t.Parallel()
	const (
		limit = 1024
		asIs  = "application/json"
		form  = "application/x-www-form-urlencoded"
		rpc   = "application/grpc"
		te    = "Transfer-Encoding: chunked\r\n"
		gz    = "Content-Encoding: gzip\r\n"
	)
	e := startBodies(t, "{ max_request_bytes: 1024, allow_partial_message: true, pack_as_bytes: true }")
	padded := func(n int, more string) string {
		const head, tail = `{"item":"`, `"}`
		return head + strings.Repeat("x", n-len(head)-len(tail)-len(more)) + `"` + more + "}"
	}
	whole, beyond := padded(limit, ""), padded(limit+1, "")
	blockedBeyond := padded(limit+100, `,"blocked":1`)
	item, blocked := `{"item":1}`, `{"blocked":1}`
	for name, c := range map[string]struct {
		path, contentType, headers, body string
		status                           int // 0: any but 200
	}{
		"0 bytes":                           {"/orders", asIs, "Content-Length: 0\r\n", "", 200},
		"0 bytes in chunks":                 {"/orders", asIs, te, chunked(), 200},
		"the limit":                         {"/orders", asIs, lengthOf(whole), whole, 200},
		"the limit, denied":                 {"/orders", asIs, lengthOf(padded(limit, `,"blocked":1`)), padded(limit, `,"blocked":1`), 403},
		"the limit and one":                 {"/orders", asIs, lengthOf(beyond), beyond, 400},
		"denied beyond the limit":           {"/orders", asIs, lengthOf(blockedBeyond), blockedBeyond, 400},
		"in chunks":                         {"/orders", asIs, te, chunked(`{"it`, `em":`, `1}`), 200},
		"in chunks, denied":                 {"/orders", asIs, te, chunked(`{"blo`, `cked":`, `1}`), 403},
		"in chunks, denied beyond":          {"/orders", asIs, te, chunked(blockedBeyond[:limit], blockedBeyond[limit:]), 0},
		"in chunks, denied at the limit":    {"/orders", asIs, te, chunked(padded(limit, `,"blocked":1`)), 0},
		"in chunks, all of one byte":        {"/orders", asIs, te, chunked(strings.Split(blocked, "")...), 403},
		"gzip":                              {"/orders", asIs, gz + lengthOf(gzipped(t, item)), gzipped(t, item), 400},
		"gzip, denied":                      {"/orders", asIs, gz + lengthOf(gzipped(t, blocked)), gzipped(t, blocked), 400},
		"gzip, a form":                      {"/orders", form, gz + lengthOf(gzipped(t, "blocked=1")), gzipped(t, "blocked=1"), 400},
		"said to be gzip":                   {"/orders", asIs, gz + lengthOf(item), item, 400},
		"said to be gzip, a form":           {"/orders", form, gz + lengthOf("item=1"), "item=1", 400},
		"said to be gzip and nothing":       {"/orders", asIs, "Content-Encoding: identity\r\n" + gz + lengthOf(item), item, 400},
		"said to be brotli, multipart":      {"/orders", "multipart/form-data; boundary=b", "Content-Encoding: br\r\n" + lengthOf("--b--\r\n"), "--b--\r\n", 400},
		"no coding":                         {"/orders", asIs, "Content-Encoding: identity\r\n" + lengthOf(item), item, 200},
		"multipart without its boundary":    {"/orders", "multipart/form-data; boundary=b", lengthOf("--c\r\nContent-Disposition: form-data; name=blocked\r\n\r\n1\r\n--c--\r\n"), "--c\r\nContent-Disposition: form-data; name=blocked\r\n\r\n1\r\n--c--\r\n", 400},
		"the client says it is whole":       {"/orders", asIs, "x-envoy-auth-partial-body: false\r\n" + lengthOf(blockedBeyond), blockedBeyond, 400},
		"the length of the half":            {"/orders", asIs, "Content-Length: 10\r\n", item + blocked, 200},
		"gRPC in chunks":                    {"/test.Sink/Put", rpc, te, chunked(frame("fine")[:3], frame("fine")[3:6], frame("fine")[6:]), 200},
		"gRPC in chunks, denied":            {"/test.Sink/Put", rpc, te, chunked(frame("blocked")[:3], frame("blocked")[3:6], frame("blocked")[6:]), 0},
		"gRPC, half a frame header":         {"/test.Sink/Put", rpc, te, chunked(frame("fine")[:3]), 0},
		"gRPC, half a frame":                {"/test.Sink/Put", rpc, te, chunked(frame("fine")[:7]), 0},
		"gRPC, a frame and half of another": {"/test.Sink/Put", rpc, te, chunked(frame("fine") + frame("blocked")[:7]), 0},
		"gRPC, two frames":                  {"/test.Sink/Put", rpc, te, chunked(frame("fine"), frame("blocked")), 0},
	} {
		before := e.service.Count()
		a := e.post(t, c.path, c.contentType, c.headers, c.body)
		reached := e.service.Count() != before
		if want := c.status == http.StatusOK; reached != want || c.status != 0 && c.contentType != rpc && a.Status != c.status {
			t.Errorf("%s: status %d, reached %v; want %d; %s", name, a.Status, reached, c.status, a.Body)
		}
		if reached && strings.Contains(e.service.Got(), "blocked") {
			t.Errorf("%s: the service got %q", name, e.service.Got())
		}
	}
	e.cutsOff(t, item)
}

// cutsOff says that a body is longer than it is, and goes away.
func (e *edge) cutsOff(t *testing.T, body string) {
	t.Helper()
	before := e.service.Count()
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "POST /orders HTTP/1.1\r\nHost: a\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", e.bearer(t), len(body)+50, body)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || strings.Contains(string(answer), " 200 ") || e.service.Count() != before {
		t.Errorf("a body that ends early: %q, %v, reached %v", answer, err, e.service.Count() != before)
	}
}

// E6, with the option of manifests/envoy: Envoy sends whole bodies and refuses those above the limit.
func TestEdgeWholeBodies(t *testing.T) {
	t.Parallel()
	const limit = 65536 // above what Envoy buffers of a connection
	e := startBodies(t, "{ max_request_bytes: 65536, allow_partial_message: false, pack_as_bytes: true }")
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"0 bytes":           {"", 200},
		"the limit":         {`{"item":"` + strings.Repeat("x", limit-11) + `"}`, 200},
		"the limit, denied": {`{"item":"` + strings.Repeat("x", limit-23) + `","blocked":1}`, 403},
		"the limit and one": {`{"item":"` + strings.Repeat("x", limit-10) + `"}`, 413},
	} {
		for coding, headers := range map[string]string{"": lengthOf(c.body), " in chunks": "Transfer-Encoding: chunked\r\n"} {
			sent := c.body
			if coding != "" {
				if sent = chunked(c.body); c.body == "" {
					sent = chunked()
				}
			}
			before := e.service.Count()
			a := e.post(t, "/orders", "application/json", headers, sent)
			if reached := e.service.Count() != before; a.Status != c.status || reached != (c.status == 200) {
				t.Errorf("%s%s: status %d, reached %v, want %d; %.200s", name, coding, a.Status, reached, c.status, a.Body)
			}
		}
	}
	e.cutsOff(t, `{"item":1}`)
}

// What Envoy sends beyond what extauthz takes is refused, and not received.
func TestEdgeBodiesAboveWhatIsTaken(t *testing.T) {
	t.Parallel()
	e := startBodies(t, "{ max_request_bytes: 4194304, allow_partial_message: false, pack_as_bytes: true }")
	for size, status := range map[int]int{128 << 10: 200, 300 << 10: 400, 1200 << 10: 400} {
		body := `{"item":"` + strings.Repeat("x", size) + `"}`
		before := e.service.Count()
		a := e.post(t, "/orders", "application/json", lengthOf(body), body)
		if reached := e.service.Count() != before; a.Status != status || reached != (status == 200) {
			t.Errorf("%d bytes: status %d, reached %v, want %d; %.200s", size, a.Status, reached, status, a.Body)
		}
	}
}
