package issuer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/manifests/envoy"
)

// edge is a protected resource as in production: the real Envoy with TLS, the real extauthz, and a service that knows nothing of tokens.
type edge struct {
	t       *testing.T
	url     string
	client  *http.Client
	reached atomic.Int32 // requests that the service saw
	seen    atomic.Value // x-agent-id of the last one

	authority string // file of the CA that made its certificate
}

const edgePolicy = `package agentidp.authz

default allow := false

allow if {
	input.attributes.request.http.method == "GET"
	"invoices:read" in input.identity.scopes
}
`

// edgeConfig is told where the issuer is; more are further lines.
const edgeConfig = `listen: unix://%[1]s
stateDir: state
policy: {dir: policies, timeout: 200ms}
issuers:
  - issuer: %[2]s
    audiences: [svc://payments]
    jwks: {url: %[2]s/.well-known/jwks.json, ca: %[3]s}
    revocations: {url: %[2]s/revocations, ca: %[3]s, interval: 100ms}
%[4]s`

// extauthzProgram is cmd/extauthz, built once for all tests of this package, with coverage when `make test` wants it.
var extauthzProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "agentidp-extauthz-")
	if err != nil {
		return "", err
	}
	extauthzDir.Store(dir)
	path := filepath.Join(dir, "extauthz")
	args := []string{"build", "-tags", "grpcnotrace", "-o", path}
	if os.Getenv("AGENTIDP_COVERDIR") != "" {
		args = append(args, "-cover", "-covermode=atomic", "-coverpkg=github.com/agentidp/agentidp/...")
	}
	out, err := exec.Command("go", append(args, "github.com/agentidp/agentidp/cmd/extauthz")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// extauthzDir is for TestMain to remove.
var extauthzDir atomic.Value

func removeExtauthz() error {
	if dir, ok := extauthzDir.Load().(string); ok {
		return os.RemoveAll(dir)
	}
	return nil
}

// edge puts a service behind Envoy and extauthz that believe this issuer.
func (i *instance) edge(more string) *edge {
	t := i.t
	t.Helper()
	e := &edge{t: t}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.reached.Add(1)
		e.seen.Store(r.Header.Get("X-Agent-Id"))
		_, _ = w.Write([]byte(`{"accounts":[]}`))
	}))
	t.Cleanup(service.Close)
	dir := testkit.SocketDir(t)
	socket := filepath.Join(dir, "extauthz.sock")
	for name, text := range map[string]string{
		"policies/authz.rego": edgePolicy, "extauthz.yaml": fmt.Sprintf(edgeConfig, socket, i.url, i.authority, more),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.startExtauthz(dir, socket)
	e.startEnvoy(socket, service.Listener.Addr().String())
	warm := i.agent(i.organization("warm"), "warm")
	_, secret := i.credential(warm)
	await(t, "extauthz has keys, revocations and a policy", func() bool {
		return e.get(nil, "Authorization", "Bearer "+i.token(warm, secret)).StatusCode == http.StatusOK
	})
	return e
}

func (e *edge) startExtauthz(dir, socket string) {
	t := e.t
	t.Helper()
	program, err := extauthzProgram()
	if err != nil {
		t.Fatal(err)
	}
	command := localsvc.Command{Name: "extauthz", Path: program, Args: []string{"-config", filepath.Join(dir, "extauthz.yaml")}, LogFile: filepath.Join(dir, "extauthz.log")}
	if cover := os.Getenv("AGENTIDP_COVERDIR"); cover != "" {
		command.Env = []string{"GOCOVERDIR=" + cover}
	}
	p, err := localsvc.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("extauthz:\n%s", p.Tail())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			conn.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// startEnvoy asks for client certificates and takes any, as RFC 8705 s2.2 allows: what counts is what a token is bound to.
func (e *edge) startEnvoy(socket, upstream string) {
	t := e.t
	t.Helper()
	certificates := testkit.Certificates(t)
	doc, err := envoy.Render(envoy.Params{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: socket, Upstream: upstream,
		TLS: &envoy.TLS{Certificate: certificates.CertificateFile(), Key: certificates.KeyFile()},
	})
	if err != nil {
		t.Fatal(err)
	}
	const timeout = "timeout: 0.25s # "
	if bytes.Count(doc, []byte(timeout)) != 1 {
		t.Fatalf("%q is not where this test looks for it", timeout)
	}
	doc = bytes.Replace(doc, []byte(timeout), []byte("timeout: 5s # "), 1) // a busy test machine
	e.url = "https://" + strings.Replace(testkit.Envoy(t, doc).Listener(t, "ingress"), "127.0.0.1", "localhost", 1) + "/accounts"
	e.authority = certificates.AuthorityFile()
	e.client = client(t, e.authority)
	t.Cleanup(e.client.CloseIdleConnections)
}

// with is a client of the resource that shows a certificate.
func (e *edge) with(s *signer) *http.Client {
	e.t.Helper()
	transport := e.client.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: s.chain, PrivateKey: s.key}}
	e.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// authorities are the CA of the resource and another.
func (e *edge) authorities(other string) string {
	e.t.Helper()
	var all []byte
	for _, file := range []string{e.authority, other} {
		text, err := os.ReadFile(file)
		if err != nil {
			e.t.Fatal(err)
		}
		all = append(all, text...)
	}
	return string(all)
}

// get asks for the resource; header is name, value, … and may name one twice.
func (e *edge) get(by *http.Client, header ...string) answer {
	e.t.Helper()
	if by == nil {
		by = e.client
	}
	r, err := http.NewRequestWithContext(e.t.Context(), "GET", e.url, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for n := 0; n < len(header); n += 2 {
		r.Header.Add(header[n], header[n+1])
	}
	before := e.reached.Load()
	response, err := by.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	if reached := e.reached.Load() != before; reached != (response.StatusCode == http.StatusOK) {
		e.t.Errorf("%s, and the service was reached: %v", response.Status, reached)
	}
	return answer{response, body}
}
