package envoy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
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
	"github.com/agentidp/agentidp/manifests/envoy"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a real Envoy with the shipped configuration between a client that sends raw bytes, an authorizer that answers what the test
// says, and a service that keeps what it got, byte for byte.
type world struct {
	authorizer *authorizer
	service    *service
	proxy      *testkit.EnvoyProcess
	address    string
	accessLog  string
}

// newWorld starts one; edit changes the configuration before Envoy reads it.
func newWorld(t *testing.T, edit func(doc string) string) *world {
	t.Helper()
	dir := testkit.SocketDir(t)
	w := &world{authorizer: startAuthorizer(t, filepath.Join(dir, "extauthz.sock")), service: startService(t), accessLog: filepath.Join(dir, "access.log")}
	doc, err := envoy.Render(envoy.Params{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: filepath.Join(dir, "extauthz.sock"), Upstream: w.service.address,
	})
	if err != nil {
		t.Fatal(err)
	}
	text := replaceOnce(t, string(doc), // the same log, where a test can read it
		"type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
		"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n                      path: "+w.accessLog)
	w.proxy = testkit.Envoy(t, []byte(edit(text)))
	w.address = w.proxy.Listener(t, "ingress")
	for deadline := time.Now().Add(exchangeTimeout); w.get(t, "/warm").status != http.StatusOK; { // the first check also connects
		if time.Now().After(deadline) {
			t.Fatal("no request gets through")
		}
	}
	return w
}

func replaceOnce(t *testing.T, doc, from, to string) string {
	t.Helper()
	if n := strings.Count(doc, from); n != 1 {
		t.Fatalf("%q stands %d times in sidecar.yaml, want once", from, n)
	}
	return strings.Replace(doc, from, to, 1)
}

// answer is what came back to the client.
type answer struct {
	status int
	header http.Header
	body   string
}

const exchangeTimeout = 10 * time.Second

// send writes raw bytes on a connection of its own and reads one response. Lines end in CR LF; "Host", "Connection: close" are the caller's.
func (w *world) send(t *testing.T, raw string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", w.address, exchangeTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no response to %.200q: %v", raw, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// get sends a GET with more header lines.
func (w *world) get(t *testing.T, target string, headers ...string) answer {
	t.Helper()
	lines := append([]string{"GET " + target + " HTTP/1.1", "Host: service.example", "Connection: close"}, headers...)
	return w.send(t, strings.Join(lines, "\r\n")+"\r\n\r\n")
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

// service answers every request with 200 and keeps the last one: everything up to the empty line, and what had come with it.
type service struct {
	address string
	mu      sync.Mutex
	last    string
	reached int
	down    bool
}

func startService(t *testing.T) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{address: l.Addr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return s
}

func (s *service) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	buf, got := make([]byte, 64<<10), []byte(nil)
	for !bytes.Contains(got, []byte("\r\n\r\n")) {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		got = append(got, buf[:n]...)
	}
	s.mu.Lock()
	s.last = string(got)
	s.reached++
	s.mu.Unlock()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

func (s *service) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// got is the last request as it arrived.
func (s *service) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// target is the second word of the request line.
func (s *service) target() string {
	words := strings.SplitN(s.got(), " ", 3)
	if len(words) < 3 {
		return ""
	}
	return words[1]
}

// has reports whether the last request has a header line "name: value", names in lower case as Envoy sends them.
func (s *service) has(name, value string) bool {
	return strings.Contains(s.got(), fmt.Sprintf("\r\n%s: %s\r\n", name, value))
}
