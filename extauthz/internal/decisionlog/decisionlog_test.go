package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/internal/obs"
)

const canary = "canary-7c1e"

func request(t testing.TB) *checkreq.Request {
	t.Helper()
	wire, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:            &authv3.AttributeContext_Peer{Principal: "spiffe://example/a", Certificate: canary},
		ContextExtensions: map[string]string{"route": "r"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "req-1", Method: "GET", Path: "/orders?x=1&access_token=" + canary + "&%74oken=" + canary, Host: "shop.example", Scheme: "https", Protocol: "HTTP/2", Body: canary,
			Headers: map[string]string{
				"authorization": "Bearer " + canary, "cookie": "s=" + canary, "dpop": canary, "proxy-authorization": canary, "x-forwarded-client-cert": canary,
				"x-api-key": canary, "referer": "https://a/?token=" + canary, ":path": "/orders?x=1&access_token=" + canary + "&%74oken=" + canary, "accept": "*/*",
			},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r, refusal := checkreq.Parse(wire)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return r
}

// lines collects what was written, one write at a time.
type lines struct {
	mu      sync.Mutex
	written [][]byte
	err     error
	gate    chan struct{} // each write waits for one, when set
}

func (l *lines) Write(b []byte) (int, error) {
	if l.gate != nil {
		<-l.gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	l.written = append(l.written, bytes.Clone(b))
	return len(b), nil
}

func closed(t testing.TB, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestLineIsAnEvent(t *testing.T) {
	t.Parallel()
	out := &lines{}
	l := New(ToWriter(out), Config{Labels: map[string]string{"id": "sidecar-1"}, SampleAllowed: 1})
	l.Add(Record{
		DecisionID: "d-1", Time: time.Unix(1790000000, 0), Elapsed: 42 * time.Microsecond, Epoch: 7, Revision: "abc", Path: "agentidp/authz/allow",
		Result: "denied", Reason: "policy_denied", Code: "insufficient_scope", Status: 403, Request: request(t),
		Identity: &identity.Identity{Subject: "agt_1", OrganizationID: "org_a", Issuer: "https://i", Origin: "local", ClientID: "c", Scopes: []string{"a"}, Confirmation: "none", TokenID: "t", IssuedAt: 1, ExpiresAt: 2},
		Decision: map[string]any{"allowed": false, "headers": []any{map[string]any{"Set-Cookie": canary, "x": "y"}}, "n": json.Number("1")},
		Err:      "fault", Trace: obs.TraceContext{TraceID: [16]byte{0xa1}, SpanID: [8]byte{0xb2}},
	})
	closed(t, l)
	if len(out.written) != 1 || bytes.Count(out.written[0], []byte("\n")) != 1 {
		t.Fatalf("wrote %q", out.written)
	}
	if bytes.Contains(out.written[0], []byte(canary)) {
		t.Errorf("a secret is in the log: %s", out.written[0])
	}
	var got, want any
	if err := json.Unmarshal(out.written[0], &got); err != nil {
		t.Fatal(err)
	}
	const path = `/orders?x=1&access_token=[masked]&%74oken=[masked]`
	doc := `{
		"labels": {"id": "sidecar-1"}, "decision_id": "d-1", "trace_id": "a1000000000000000000000000000000", "span_id": "b200000000000000", "bundles": {"policy": {"revision": "abc"}}, "path": "agentidp/authz/allow",
		"input": {
			"attributes": {
				"source": {"principal": "spiffe://example/a"}, "destination": {},
				"request": {"http": {"id": "req-1", "method": "GET", "path": "` + path + `", "host": "shop.example", "scheme": "https", "protocol": "HTTP/2",
					"headers": {":path": "` + path + `", "accept": "*/*", "authorization": "[masked]", "cookie": "[masked]", "dpop": "[masked]", "proxy-authorization": "[masked]",
						"referer": "https://a/", "x-api-key": "[masked]", "x-forwarded-client-cert": "[masked]"}}},
				"contextExtensions": {"route": "r"}},
			"parsed_path": ["orders"], "parsed_host": "shop.example",
			"identity": {"subject": "agt_1", "organizationId": "org_a", "issuer": "https://i", "origin": "local", "clientId": "c", "scopes": ["a"], "actors": null,
				"confirmation": "none", "tokenId": "t", "issuedAt": 1, "expiresAt": 2}},
		"result": {"allowed": false, "headers": [{"Set-Cookie": "[masked]", "x": "y"}], "n": 1},
		"masked": ["/input/attributes/request/http/headers/:path", "/input/attributes/request/http/headers/authorization", "/input/attributes/request/http/headers/cookie", "/input/attributes/request/http/headers/dpop",
			"/input/attributes/request/http/headers/proxy-authorization", "/input/attributes/request/http/headers/x-api-key",
			"/input/attributes/request/http/headers/x-forwarded-client-cert", "/input/attributes/request/http/path"],
		"error": {"message": "fault"}, "timestamp": "2026-09-21T14:13:20Z", "metrics": {"timer_server_handler_ns": 42000},
		"custom": {"snapshot_epoch": 7, "result": "denied", "reason": "policy_denied", "reason_code": "insufficient_scope", "http_status": 403}
	}`
	if err := json.Unmarshal([]byte(doc), &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRecordWithoutRequest(t *testing.T) {
	t.Parallel()
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	l.Add(Record{DecisionID: "d", Result: "denied", Reason: "request_path"})
	closed(t, l)
	if len(out.written) != 1 || !bytes.Contains(out.written[0], []byte(`"snapshot_epoch":0`)) {
		t.Errorf("wrote %q", out.written)
	}
}

// A writer that hangs costs records, never requests; what was queued is written at the end.
func TestFullBufferDrops(t *testing.T) {
	t.Parallel()
	out := &lines{gate: make(chan struct{})}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	const extra = 100
	total := recordsMax + extra
	for n := range total {
		l.Add(Record{DecisionID: fmt.Sprint(n)})
	}
	dropped := l.Counts().Dropped[CauseFull]
	if dropped < extra-1 || dropped > extra {
		t.Errorf("%d dropped of %d", dropped, total)
	}
	close(out.gate)
	closed(t, l)
	if got := len(out.written) + int(dropped); got != total {
		t.Errorf("%d written and %d dropped of %d", len(out.written), dropped, total)
	}
}

func TestBufferIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	out := &lines{gate: make(chan struct{})}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	big := Record{Request: &checkreq.Request{Body: make([]byte, bytesMax/4)}}
	for range 10 {
		l.Add(big)
	}
	if n := l.Counts().Dropped[CauseFull]; n < 6 {
		t.Errorf("%d dropped", n)
	}
	close(out.gate)
	closed(t, l)
	if p := l.pending.Load(); p != 0 {
		t.Errorf("%d bytes pending after the end", p)
	}
}

func TestCloseIsFinal(t *testing.T) {
	t.Parallel()
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	closed(t, l)
	closed(t, l)
	l.Add(Record{})
	if n := l.Counts().Dropped[CauseClosed]; n != 1 || len(out.written) != 0 {
		t.Errorf("%d dropped, %d written", n, len(out.written))
	}
}

func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	out := &lines{gate: make(chan struct{})}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	l.Add(Record{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(out.gate)
	closed(t, l)
}

func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	l := New(ToWriter(&lines{err: errors.New("disk full")}), Config{SampleAllowed: 1})
	l.Add(Record{})
	l.Add(Record{Decision: func() {}}) // cannot be encoded
	closed(t, l)
	want := map[Cause]uint64{CauseWrite: 1, CauseEncode: 1}
	if d := cmp.Diff(want, l.Counts().Dropped); d != "" {
		t.Error(d)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				l.Add(Record{DecisionID: "d", Request: request(t)})
			}
		})
	}
	group.Wait()
	closed(t, l)
	if len(out.written) != 800 || l.Counts().Written != 800 {
		t.Errorf("%d written, counted %v", len(out.written), l.Counts())
	}
	if strings.Contains(string(bytes.Join(out.written, nil)), canary) {
		t.Error("a secret is in the log")
	}
}
