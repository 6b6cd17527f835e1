package envoy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
	"github.com/agentidp/agentidp/manifests/envoy"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a real Envoy with the shipped configuration between a client that sends raw bytes, an authorizer that answers what the test
// says, and a service that keeps what it got, byte for byte.
type world struct {
	authorizer *authorizer
	service    *rawhttp.Service
	proxy      *testkit.EnvoyProcess
	address    string
	accessLog  string
}

// newWorld starts one and waits until a request gets through; edit changes the configuration before Envoy reads it.
func newWorld(t *testing.T, edit func(doc string) string) *world {
	t.Helper()
	w := newWorldTLS(t, nil, edit)
	for deadline := time.Now().Add(exchangeTimeout); w.get(t, "/warm").Status != http.StatusOK; { // the first check also connects
		if time.Now().After(deadline) {
			t.Fatal("no request gets through")
		}
	}
	return w
}

// newWorldTLS is newWorld with TLS, or for an edit after which plain HTTP does not get through.
func newWorldTLS(t *testing.T, tls *envoy.TLS, edit func(doc string) string) *world {
	t.Helper()
	dir := testkit.SocketDir(t)
	w := &world{authorizer: startAuthorizer(t, filepath.Join(dir, "extauthz.sock")), service: rawhttp.Serve(t), accessLog: filepath.Join(dir, "access.log")}
	doc, err := envoy.Render(envoy.Params{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: filepath.Join(dir, "extauthz.sock"), Upstream: w.service.Address, TLS: tls,
	})
	if err != nil {
		t.Fatal(err)
	}
	text := replaceOnce(t, string(doc), // the same log, where a test can read it
		"type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
		"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n                      path: "+w.accessLog)
	w.proxy = testkit.Envoy(t, []byte(edit(text)))
	w.address = w.proxy.Listener(t, "ingress")
	return w
}

func replaceOnce(t *testing.T, doc, from, to string) string {
	t.Helper()
	if n := strings.Count(doc, from); n != 1 {
		t.Fatalf("%q stands %d times in sidecar.yaml, want once", from, n)
	}
	return strings.Replace(doc, from, to, 1)
}

const exchangeTimeout = 10 * time.Second

// get sends a GET with more header lines.
func (w *world) get(t *testing.T, target string, headers ...string) rawhttp.Answer {
	t.Helper()
	return rawhttp.Get(t, w.address, target, headers...)
}

// admin posts to Envoy's admin interface.
func (w *world) admin(t *testing.T, method, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.proxy.Admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", path, resp.StatusCode, body, err)
	}
	return string(body)
}

// authorizer is an ext_authz server that keeps the last question and gives the answer it was told.
type authorizer struct {
	authv3.UnimplementedAuthorizationServer
	mu       sync.Mutex
	respond  func(ctx context.Context) (*authv3.CheckResponse, error)
	last     *authv3.CheckRequest
	asked    int
	deadline time.Duration // left when the last question arrived
}

func startAuthorizer(t *testing.T, socket string) *authorizer {
	t.Helper()
	a := &authorizer{}
	a.reset()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, a)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return a
}

// Check implements the Authorization service.
func (a *authorizer) Check(ctx context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a.mu.Lock()
	a.last = proto.Clone(req).(*authv3.CheckRequest)
	a.asked++
	if deadline, ok := ctx.Deadline(); ok {
		a.deadline = time.Until(deadline)
	}
	respond := a.respond
	a.mu.Unlock()
	return respond(ctx)
}

func (a *authorizer) set(respond func(ctx context.Context) (*authv3.CheckResponse, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.respond = respond
}

func (a *authorizer) answer(resp *authv3.CheckResponse) {
	a.set(func(context.Context) (*authv3.CheckResponse, error) { return resp, nil })
}

func (a *authorizer) reset() { a.answer(allow()) }

func (a *authorizer) question() *authv3.CheckRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// values are the raw values of a header in the last question.
func (a *authorizer) values(name string) []string {
	var out []string
	for _, h := range a.question().GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if h.GetKey() == name {
			out = append(out, string(h.GetRawValue()))
		}
	}
	return out
}

func (a *authorizer) path() string {
	return a.question().GetAttributes().GetRequest().GetHttp().GetPath()
}

// allow answers OK and sets headers, given as name, value, name, value …
func allow(headers ...string) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{}
	for i := 0; i < len(headers); i += 2 {
		ok.Headers = append(ok.Headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: headers[i], Value: headers[i+1]},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return &authv3.CheckResponse{Status: &status.Status{}, HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}}
}
