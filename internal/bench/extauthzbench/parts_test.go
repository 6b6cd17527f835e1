package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/internal/testkit"
)

func TestFloorAllows(t *testing.T) {
	t.Parallel()
	socket := testkit.SocketDir(t) + "/floor.sock"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveFloor(ctx, socket) }()
	m, err := newMessage("token", rawHeaders)
	if err != nil {
		t.Fatal(err)
	}
	if err := awaitOutcome(ctx, socket, m, allowed); err != nil {
		t.Error(err)
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := awaitOutcome(short, socket, m, deniedScope); err == nil {
		t.Error("the floor denies")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the floor ended with %v", err)
	}
	if err := serveFloor(t.Context(), socket+"/none"); err == nil {
		t.Error("listening where no socket can be")
	}
}

func TestMessagesDifferInTheRequestID(t *testing.T) {
	t.Parallel()
	for form, headers := range map[headerForm]func(*authv3.AttributeContext_HttpRequest) string{
		rawHeaders: func(r *authv3.AttributeContext_HttpRequest) string {
			for _, h := range r.GetHeaderMap().GetHeaders() {
				if h.GetKey() == "x-request-id" {
					return string(h.GetRawValue())
				}
			}
			return ""
		},
		mappedHeaders: func(r *authv3.AttributeContext_HttpRequest) string { return r.GetHeaders()["x-request-id"] },
	} {
		m, err := newMessage("header.payload.signature", form)
		if err != nil {
			t.Fatal(err)
		}
		buffer := m.write(nil, 0x1234)
		var request authv3.CheckRequest
		if err := proto.Unmarshal(buffer, &request); err != nil {
			t.Fatal(err)
		}
		if got := headers(request.GetAttributes().GetRequest().GetHttp()); got != requestID[:24]+"000000001234" {
			t.Errorf("form %d: x-request-id %q", form, got)
		}
		if other := m.write(nil, 0x1235); bytes.Equal(buffer, other) || len(buffer) != len(m.wire) {
			t.Errorf("form %d: two requests are the same", form)
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	marshal := func(r *authv3.CheckResponse) []byte {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ok := &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}
	no := &authv3.CheckResponse{Status: &status.Status{Code: 7}, HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{}}}
	mixed := &authv3.CheckResponse{Status: &status.Status{Code: 7}, HttpResponse: ok.GetHttpResponse()}
	for name, c := range map[string]struct {
		answer []byte
		want   outcome
		good   bool
	}{
		"allow":               {marshal(ok), allowed, true},
		"allow with identity": {marshal(ok), allowedAs, true},
		"status alone":        {marshal(&authv3.CheckResponse{Status: &status.Status{}}), allowed, true},
		"status alone, of us": {marshal(&authv3.CheckResponse{Status: &status.Status{}}), allowedAs, false},
		"no, status alone":    {marshal(&authv3.CheckResponse{Status: &status.Status{Code: 7}}), denied, true},
		"no, of us":           {marshal(&authv3.CheckResponse{Status: &status.Status{Code: 7}}), deniedScope, false},
		"no, alone, denied":   {marshal(&authv3.CheckResponse{Status: &status.Status{}}), denied, false},
		"nothing, for a no":   {nil, denied, false},
		"nothing":             {nil, allowed, false},
		"denial":              {marshal(no), deniedScope, true},
		"denial for allow":    {marshal(no), allowed, false},
		"allow for denial":    {marshal(ok), deniedScope, false},
		"neither":             {marshal(mixed), allowed, false},
		"neither, denied":     {marshal(mixed), deniedScope, false},
		"not protobuf":        {[]byte{0xff}, allowed, false},
		"cut":                 {[]byte{0x0a, 0x05}, allowed, false},
	} {
		if err := c.want.check(c.answer); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	undecided := marshal(&authv3.CheckResponse{Status: &status.Status{Code: 14}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
		DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable}},
	}})
	if err := allowedAs.check(undecided); !errors.Is(err, errUndecided) {
		t.Errorf("a 503: %v", err)
	}
	if err := allowedAs.check(marshal(no)); err == nil || errors.Is(err, errUndecided) {
		t.Errorf("a denial: %v", err)
	}
	if allowedAs.checkWhole(marshal(ok)) == nil {
		t.Error("an allow without the agent's name was taken for ours")
	}
	if deniedScope.checkWhole(marshal(no)) == nil {
		t.Error("a denial without status 403 was taken for ours")
	}
}

func TestTokensAreDistinctAndGood(t *testing.T) {
	t.Parallel()
	b := newTestBench(t)
	first, err := b.fixture.tokens(20, scopeHeld)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.fixture.tokens(20, scopeHeld)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, token := range append(first, second...) {
		if seen[token] || len(token) < 700 || len(token) > 1000 {
			t.Fatalf("a token twice, or of %d bytes", len(token))
		}
		seen[token] = true
	}
	rows, err := b.coldInProcess() // verifies some
	if err != nil || len(rows) != 1 || rows[0].Ratio == nil || *rows[0].Ratio < 1 {
		t.Errorf("cold tokens: %+v, %v", rows, err)
	}
}

// answering is an HTTP server that gives one answer to everybody, after a while.
func answering(t *testing.T, status int, body string, wait func()) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		wait()
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestHTTPLoad(t *testing.T) {
	t.Parallel()
	load := func(address string, rate float64) httpLoad {
		return httpLoad{address: address, pids: []int{os.Getpid()}, requests: [][]byte{newRequest("a"), newRequest("b")}, conns: 2, rate: rate}
	}
	good := answering(t, http.StatusOK, "ok", func() {})
	closed, open := load(good, 0), load(good, 200)
	if p, err := closed.run(t.Context(), time.Millisecond, 20*time.Millisecond); err != nil || p.requests == 0 || p.p50 == 0 || p.p99 < p.p50 {
		t.Errorf("closed loop: %+v, %v", p, err)
	}
	if p, err := open.run(t.Context(), time.Millisecond, 100*time.Millisecond); err != nil || p.requests != 20 {
		t.Errorf("open loop of 200/s for 100 ms: %+v, %v", p, err)
	}
	bad := load(answering(t, http.StatusForbidden, "no scope", func() {}), 0)
	if _, err := bad.run(t.Context(), 0, time.Millisecond); err == nil || !strings.Contains(err.Error(), "403: no scope") {
		t.Errorf("a denial: %v", err)
	}
}

// A server that is too slow for the arrivals must not look fast because fewer were sent.
func TestOpenLoopCountsFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	const service = 20 * time.Millisecond
	l := httpLoad{pids: []int{os.Getpid()}, requests: [][]byte{newRequest("a")}, conns: 1, rate: 200}
	l.address = answering(t, http.StatusOK, "ok", func() { <-time.After(service) })
	p, err := l.run(t.Context(), 0, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if p.requests != 20 || p.p50 < 5*service { // 20 requests due in 100 ms take 400 ms
		t.Errorf("%d requests, p50 %v: the queue does not count", p.requests, p.p50)
	}
}
