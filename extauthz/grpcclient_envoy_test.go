package extauthz_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// callerPolicy denies in each way a policy can.
const callerPolicy = `package agentidp.authz

default allow := false

allow := {"allowed": false, "reason": {"code": "insufficient_scope", "detail": "Writing needs a scope.", "required_scopes": ["orders:write", "orders:list"]}} if input.parsed_path[1] == "Scope"

allow := {"allowed": false, "http_status": 404} if input.parsed_path[1] == "Hidden"

allow := {"allowed": false, "http_status": 429} if input.parsed_path[1] == "Often"

allow := {"allowed": false, "body": "Zoë: 100 %\nno"} if input.parsed_path[1] == "Own"

allow := {"allowed": false, "headers": {"grpc-status": "9", "grpc-message": "not%20now"}} if input.parsed_path[1] == "Status"

allow := "neither" if input.parsed_path[1] == "Broken"
`

// What a real gRPC client gets of each kind of denial, through a real Envoy: a status with details, all of it consistent.
func TestEdgeGRPCCallers(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "resource: {identifier: \"http://localhost:8080\"}\n")
	e.write(t, "policies/authz.rego", callerPolicy)
	e.startHere(t)
	e.startEnvoy(t)
	conn, err := grpc.NewClient("passthrough:///orders", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", e.address)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	good := "Bearer " + e.token(t)
	for name, c := range map[string]struct {
		method        string
		authorization []string
		code          codes.Code
		reason        string
		scopes        string
		message       string // all of it; "" is ours, which begins with the code
	}{
		"no token":          {"Any", nil, codes.Unauthenticated, "CREDENTIAL_MISSING", "", ""},
		"bad token":         {"Any", []string{"Bearer a.b.c"}, codes.Unauthenticated, "TOKEN_MALFORMED", "", ""},
		"two tokens":        {"Any", []string{good, good}, codes.InvalidArgument, "CREDENTIAL_MALFORMED", "", ""},
		"denied":            {"Any", []string{good}, codes.PermissionDenied, "POLICY_DENIED", "", ""},
		"scope missing":     {"Scope", []string{good}, codes.PermissionDenied, "INSUFFICIENT_SCOPE", "orders:write orders:list", ""},
		"hidden":            {"Hidden", []string{good}, codes.NotFound, "POLICY_DENIED", "", ""},
		"too often":         {"Often", []string{good}, codes.ResourceExhausted, "POLICY_DENIED", "", ""},
		"the policy's text": {"Own", []string{good}, codes.PermissionDenied, "POLICY_DENIED", "", "Zoë: 100 %\nno"},
		"its own status":    {"Status", []string{good}, codes.FailedPrecondition, "", "", "*"},
		"cannot decide":     {"Broken", []string{good}, codes.Unavailable, "CANNOT_DECIDE", "", ""},
	} {
		before := e.service.Count()
		ctx, cancel := context.WithTimeout(t.Context(), edgeWait)
		for _, value := range c.authorization {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
		}
		var header, trailer metadata.MD
		err := conn.Invoke(ctx, "/orders.Orders/"+c.method, &emptypb.Empty{}, &emptypb.Empty{}, grpc.Header(&header), grpc.Trailer(&trailer))
		cancel()
		got := status.Convert(err)
		if got.Code() != c.code || e.service.Count() != before {
			t.Errorf("%s: %v, want %v", name, err, c.code)
			continue
		}
		challenged := len(header.Get("www-authenticate"))+len(trailer.Get("www-authenticate")) > 0
		if want := c.code == codes.Unauthenticated || c.code == codes.InvalidArgument || c.scopes != ""; challenged != want {
			t.Errorf("%s: header %v, trailer %v, want a challenge: %v", name, header, trailer, want)
		}
		if c.reason == "" {
			if len(got.Details()) != 0 {
				t.Errorf("%s: details %v that nobody asked for", name, got.Details())
			}
			continue
		}
		if c.message == "" && !strings.HasPrefix(got.Message(), strings.ToLower(c.reason)+": ") || c.message != "" && got.Message() != c.message {
			t.Errorf("%s: message %q", name, got.Message())
		}
		checkDetails(t, name, got, c.reason, c.scopes, c.code == codes.Unavailable)
	}
}

func checkDetails(t *testing.T, name string, s *status.Status, reason, scopes string, again bool) {
	t.Helper()
	retries := false
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			id := d.GetMetadata()["decision_id"]
			want := map[string]string{"decision_id": id}
			if scopes != "" {
				want["scopes"] = scopes
			}
			if d.GetReason() != reason || d.GetDomain() != "agentidp" || len(id) != 36 {
				t.Errorf("%s: %v, want %s", name, d, reason)
			}
			if diff := cmp.Diff(want, d.GetMetadata()); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		case *errdetails.RetryInfo:
			retries = d.GetRetryDelay().AsDuration() == time.Second
		default:
			t.Errorf("%s: detail %v", name, detail)
		}
	}
	if len(s.Details()) == 0 || retries != again {
		t.Errorf("%s: details %v", name, s.Details())
	}
}

// Clients that do not read details have the message, percent-encoded (gRPC over HTTP/2), and the status of the details.
func TestEdgeGRPCMessageIsEncoded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.write(t, "policies/authz.rego", callerPolicy)
	e.startHere(t)
	e.startEnvoy(t)
	transport := &http.Transport{Protocols: new(http.Protocols), DisableKeepAlives: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.address+"/orders.Orders/Own", strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("Authorization", "Bearer "+e.token(t))
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != 0 || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, %d bytes, %v: want headers and nothing else", resp.StatusCode, len(body), err)
	}
	if got := resp.Header; got.Get("Grpc-Status") != "7" || got.Get("Grpc-Message") != "Zo%C3%AB: 100 %25%0Ano" || got.Get("Content-Type") != "application/grpc" ||
		len(got.Values("Grpc-Status-Details-Bin")) != 1 || len(got.Values("Grpc-Status")) != 1 {
		t.Errorf("got %v", got)
	}
	// What is not gRPC gets no such header.
	if a := rawhttp.Get(t, e.address, "/orders.Orders/Own", "Authorization: Bearer "+e.token(t)); a.Header.Get("Grpc-Status") != "" || a.Header.Get("Grpc-Status-Details-Bin") != "" {
		t.Errorf("HTTP: %v", a.Header)
	}
}
