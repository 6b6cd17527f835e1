package extauthz_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
	"github.com/agentidp/agentidp/manifests/envoy"
)

const (
	edgeIssuer   = "https://issuer.example/org/a"
	edgeAudience = "svc://orders"
	edgeWait     = 15 * time.Second
	edgePause    = 20 * time.Millisecond
)

// edgePolicy allows agents with a scope to read orders, everybody to read /public, and nothing else.
const edgePolicy = `package agentidp.authz

default allow := false

allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path[0] == "orders"
	"orders:read" in input.identity.scopes
}

allow if input.parsed_path == ["public"]
`

// edge is a client, a real Envoy with the shipped configuration, extauthz, and a service, wired as in production.
type edge struct {
	dir     string
	socket  string
	proxy   *testkit.EnvoyProcess
	address string // of Envoy
	service *rawhttp.Service
	signer  *jose.SigningKey
	log     *lockedBuffer
	now     func() time.Time // of extauthz in this process; nil is time.Now
}

// newEdge writes the files of a small installation: keys.json, policies/authz.rego, and extauthz.yaml with more lines.
func newEdge(t *testing.T, more string) *edge {
	t.Helper()
	signer, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{dir: testkit.SocketDir(t), service: rawhttp.Serve(t), signer: signer, log: &lockedBuffer{}}
	e.socket = filepath.Join(e.dir, "extauthz.sock")
	e.write(t, "keys.json", string(jose.MarshalKeySet([]json.RawMessage{signer.PublicJWK()})))
	e.write(t, "policies/authz.rego", edgePolicy)
	if !strings.Contains(more, "issuers:") && !strings.Contains(more, "identity: policy") {
		more += fmt.Sprintf("issuers:\n  - {issuer: %q, jwks: {file: keys.json}, audiences: [%q]}\n", edgeIssuer, edgeAudience)
	}
	if !strings.Contains(more, "policy:") {
		more += "policy: {dir: policies, timeout: 200ms}\n" // a test machine may be busy
	}
	e.write(t, "extauthz.yaml", "listen: unix://"+e.socket+"\n"+more)
	return e
}

func (e *edge) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startEnvoy puts the real Envoy in front, its configuration edited; extauthz may be there already, or not.
func (e *edge) startEnvoy(t *testing.T, edits ...func(doc string) string) {
	t.Helper()
	doc, err := envoy.Render(envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: e.socket, Upstream: e.service.Address})
	if err != nil {
		t.Fatal(err)
	}
	// A busy test machine must not look like an outage; that 250 ms are what extauthz gets is tested in manifests/envoy.
	patient := bytes.Replace(doc, []byte("timeout: 0.25s # "), []byte("timeout: 5s # "), 1)
	if bytes.Equal(patient, doc) {
		t.Fatal("the time-out of ext_authz is not where this test looks for it")
	}
	for _, edit := range edits {
		patient = []byte(edit(string(patient)))
	}
	e.proxy = testkit.Envoy(t, patient)
	e.address = e.proxy.Listener(t, "ingress")
}

// replaceOnce edits a configuration where it must be edited.
func replaceOnce(t *testing.T, doc, from, to string) string {
	t.Helper()
	if n := strings.Count(doc, from); n != 1 {
		t.Fatalf("%q stands %d times in the configuration of Envoy, want once", from, n)
	}
	return strings.Replace(doc, from, to, 1)
}

// startHere runs extauthz in this process, until the test ends.
func (e *edge) startHere(t *testing.T) {
	t.Helper()
	stop := e.run(t, nil)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// run starts extauthz in this process and returns when it listens; the function returned ends it and gives its error.
func (e *edge) run(t *testing.T, listening func(name string, addr net.Addr)) func() error {
	t.Helper()
	var cfg extauthz.Config
	if err := config.Load(filepath.Join(e.dir, "extauthz.yaml"), &cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		done <- extauthz.Run(ctx, &cfg, extauthz.Process{
			Log: slog.New(slog.NewJSONHandler(e.log, nil)), Registry: prometheus.NewRegistry(), Now: e.clock(), Stdout: e.log,
			Listening: func(name string, addr net.Addr) {
				if listening != nil {
					listening(name, addr)
				}
				if strings.HasPrefix(name, "unix") {
					once.Do(func() { close(ready) })
				}
			},
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("extauthz did not start: %v", err)
	}
	return func() error { cancel(); return <-done }
}

func (e *edge) clock() func() time.Time {
	if e.now == nil {
		return time.Now
	}
	return e.now
}

// startBinary runs the real program.
func (e *edge) startBinary(t *testing.T) *localsvc.Process {
	t.Helper()
	p, err := localsvc.Start(localsvc.Command{
		Name: "extauthz", Path: extauthzBinary(t), Args: []string{"-config", filepath.Join(e.dir, "extauthz.yaml")},
		Env: coverageEnv(), LogFile: filepath.Join(e.dir, "extauthz.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), edgeWait)
	defer cancel()
	err = p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", e.socket)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// binary is cmd/extauthz, built once for all tests of this package, with coverage when `make test` wants it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "agentidp-extauthz-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
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

// binaryDir is where binary put it, for TestMain to remove.
var binaryDir string

func extauthzBinary(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// coverageEnv is the whole environment of a child: nothing but where it leaves its coverage.
func coverageEnv() []string {
	if dir := os.Getenv("AGENTIDP_COVERDIR"); dir != "" {
		return []string{"GOCOVERDIR=" + dir}
	}
	return nil
}

// claims of a good token.
func goodClaims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": edgeIssuer, "sub": "agt_1", "aud": edgeAudience, "exp": now + 300, "iat": now, "nbf": now, "jti": "tok_1",
		"client_id": "agt_1", "scope": "orders:read", "org_id": "org_a",
	}
}

// token signs the good claims with changes: name, value, name, value …; a nil value takes the claim out.
func (e *edge) token(t *testing.T, changes ...any) string {
	t.Helper()
	claims := goodClaims()
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(claims, changes[i].(string))
			continue
		}
		claims[changes[i].(string)] = changes[i+1]
	}
	doc, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := e.signer.Sign("at+jwt", doc)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// longToken is a good token of more than 9 KiB. Our own signer refuses to make one.
func (e *edge) longToken(t *testing.T) string {
	t.Helper()
	claims := goodClaims()
	claims["pad"] = strings.Repeat("x", 9<<10)
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	der, err := e.signer.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	header := fmt.Sprintf(`{"typ":"at+jwt","alg":"ES256","kid":%q}`, e.signer.ID())
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64) // RFC 7518 s3.4
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// bearer is the header line with a good token, changed as for token.
func (e *edge) bearer(t *testing.T, changes ...any) string {
	t.Helper()
	return "Authorization: Bearer " + e.token(t, changes...)
}

func (e *edge) get(t *testing.T, target string, headers ...string) rawhttp.Answer {
	t.Helper()
	return rawhttp.Get(t, e.address, target, headers...)
}

// await repeats a request until it has the status.
func (e *edge) await(t *testing.T, want int, target string, headers ...string) {
	t.Helper()
	awaitThat(t, fmt.Sprintf("GET %s answers %d", target, want), func() bool { return e.get(t, target, headers...).Status == want })
}

func awaitThat(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(edgePause)
	defer tick.Stop()
	for deadline := time.Now().Add(edgeWait); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", edgeWait, what)
		}
	}
}

// problem decodes a problem+json body.
func problem(t *testing.T, a rawhttp.Answer) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(a.Body), &doc); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, content type %q, body %q: want problem+json", a.Status, a.Header.Get("Content-Type"), a.Body)
	}
	return doc
}

// lockedBuffer is a log that two goroutines may use.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// statusIn reports whether a request was refused in one of the ways a client can understand.
func statusIn(status int, list ...int) bool {
	for _, s := range list {
		if s == status {
			return true
		}
	}
	return false
}

var refused = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestHeaderFieldsTooLarge}

func serverTLS(t *testing.T, certificate, key string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}
