package issuer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { testkit.MainCleanup(m, removeExtauthz) }

// The secrets of every configuration in these tests: canaries that must never be logged.
const (
	adminToken = "canary-admin-token-0123456789abcdef"
	hashKey    = "canary-hash-key-0123456789abcdef012"
)

// instance is a running issuer: real server, real TLS, real PostgreSQL.
type instance struct {
	t      *testing.T
	now    func() time.Time
	url    string
	client *http.Client
	// authority is the file of the CA that made the certificate.
	authority string
	registry  *prometheus.Registry
	db        *pgtest.Database
	cfg       issuer.Config

	mu       sync.Mutex
	canaries []string
}

// start runs an issuer for one test. When the test ends the issuer is stopped, and its whole log is searched for every secret that was made.
func start(t *testing.T, change ...func(*issuer.Config)) *instance {
	t.Helper()
	return startAt(t, time.Now, change...)
}

// startAt is start with a clock of the test's own.
func startAt(t *testing.T, now func() time.Time, change ...func(*issuer.Config)) *instance {
	t.Helper()
	kek, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	db, certificates := pgtest.New(t), testkit.Certificates(t)
	address := fmt.Sprintf("localhost:%d", testkit.FreePort(t))
	cfg := issuer.Config{
		Issuer: "https://" + address, Listen: address,
		TLS: issuer.TLS{Cert: config.Path(certificates.CertificateFile()), Key: config.Path(certificates.KeyFile())},
		Database: issuer.Database{
			App: config.NewSecret(db.AppDSN), Platform: config.NewSecret(db.PlatformDSN),
		},
		BootstrapToken: config.NewSecret(adminToken), CredentialHashKey: config.NewSecret(hashKey), KEK: config.NewSecret(string(kek)),
	}
	cfg.SetDefaults()
	much := issuer.RateLimit{PerMinute: 6_000_000, Burst: 1_000_000} // tests of limits have their own
	cfg.Limits = issuer.Limits{
		Client: much, Source: much, Organization: much, Instance: much, FailuresOfClient: much, FailuresOfSource: much, FailuresOfInstance: much,
		Documents: much, DocumentsOfInstance: much,
	}
	cfg.Database.ConnectionsMax = 4
	for _, c := range change {
		c(&cfg)
	}
	i := &instance{t: t, now: now, url: cfg.Issuer, client: client(t, certificates.AuthorityFile()), authority: certificates.AuthorityFile(), registry: obs.NewRegistry("issuer"), db: db, cfg: cfg}
	i.canaries = []string{adminToken, hashKey, string(kek)}
	var log safeBuffer
	i.run(cfg, obs.NewLogger(&log, slog.LevelDebug))
	t.Cleanup(func() { i.searchLog(log.String()) })
	return i
}

// beside is another process of the same issuer: the same names, keys and database, another socket.
func (i *instance) beside(change ...func(*issuer.Config)) *instance {
	i.t.Helper()
	cfg := i.cfg
	cfg.Listen = fmt.Sprintf("localhost:%d", testkit.FreePort(i.t))
	for _, c := range change {
		c(&cfg)
	}
	j := &instance{t: i.t, now: i.now, url: "https://" + cfg.Listen, client: client(i.t, i.authority), authority: i.authority, registry: obs.NewRegistry("issuer"), db: i.db, cfg: cfg}
	j.canaries = i.canaries
	var log safeBuffer
	j.run(cfg, obs.NewLogger(&log, slog.LevelDebug))
	i.t.Cleanup(func() { j.searchLog(log.String()) })
	return j
}

func (i *instance) run(cfg issuer.Config, log *slog.Logger) {
	i.t.Helper()
	listening := make(chan struct{})
	service, err := issuer.New(i.t.Context(), cfg, issuer.Environment{
		Log: log, Registry: i.registry, Now: i.now, Listening: func(net.Addr) { close(listening) },
	})
	if err != nil {
		i.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	i.t.Cleanup(func() {
		i.client.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			i.t.Errorf("the issuer ended with: %v", err)
		}
		service.Close()
	})
	select {
	case <-listening:
	case err := <-done:
		i.t.Fatalf("the issuer did not start: %v", err)
	}
}

func client(t *testing.T, authority string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(authority)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in " + authority)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// secret remembers a value that must not be logged.
func (i *instance) secret(s string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.canaries = append(i.canaries, s)
	return s
}

func (i *instance) searchLog(log string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !strings.Contains(log, `"msg":"listening"`) {
		i.t.Error("the log was not captured")
	}
	for _, canary := range i.canaries {
		quoted, _ := json.Marshal(canary)
		if canary != "" && (strings.Contains(log, canary) || strings.Contains(log, strings.Trim(string(quoted), `"`))) {
			i.t.Errorf("a secret is in the log: %.24s…", canary)
		}
	}
	if i.t.Failed() {
		i.t.Logf("log of the issuer:\n%s", log)
	}
}

// answer is a response, read whole.
type answer struct {
	*http.Response
	body []byte
}

// json decodes the body or fails the test.
func (a answer) json(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// field is a string member of the body, "" when there is none.
func (a answer) field(name string) string {
	var members map[string]any
	if json.Unmarshal(a.body, &members) != nil {
		return ""
	}
	s, _ := members[name].(string)
	return s
}

// do sends a request as it is and checks the answer against the contract.
func (i *instance) do(r *http.Request) answer {
	i.t.Helper()
	response, err := i.client.Do(r)
	if err != nil {
		i.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	a := answer{response, body}
	if response.Header.Get("X-Request-Id") == "" {
		i.t.Errorf("%s %s: no X-Request-Id", r.Method, r.URL.Path)
	}
	checkAgainstContract(i.t, r, a)
	return a
}

func (i *instance) request(method, path, contentType, body string) *http.Request {
	i.t.Helper()
	r, err := http.NewRequestWithContext(i.t.Context(), method, i.url+path, strings.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// admin calls the admin API. body is JSON text, or a value to encode, or nil.
func (i *instance) admin(method, path string, body any, header ...string) answer {
	i.t.Helper()
	text, contentType := "", ""
	switch b := body.(type) {
	case nil:
	case string:
		text, contentType = b, "application/json"
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			i.t.Fatal(err)
		}
		text, contentType = string(encoded), "application/json"
	}
	r := i.request(method, path, contentType, text)
	r.Header.Set("Authorization", "Bearer "+adminToken)
	for n := 0; n+1 < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	return i.do(r)
}

// must fails the test unless the status is as wanted.
func (i *instance) must(a answer, status int) answer {
	i.t.Helper()
	if a.StatusCode != status {
		i.t.Fatalf("%s %s: %s %s, want %d", a.Request.Method, a.Request.URL.Path, a.Status, a.body, status)
	}
	return a
}

// organization creates one and returns its id.
func (i *instance) organization(slug string) string {
	i.t.Helper()
	return i.must(i.admin("POST", "/organizations", map[string]any{"slug": slug, "displayName": strings.ToUpper(slug)}), 201).field("id")
}

// agent creates one with two scopes and two audiences and returns its id.
func (i *instance) agent(organization, name string) string {
	i.t.Helper()
	return i.must(i.admin("POST", "/agents", map[string]any{
		"organizationId": organization, "name": name, "type": "assistant", "capabilities": []string{"invoice.read"},
		"scopes": []string{"invoices:read", "invoices:write"}, "audiences": []string{"svc://payments", "svc://ledger"},
	}), 201).field("id")
}

// credential gives an agent a client secret and returns credential id and secret.
func (i *instance) credential(agent string) (id, secret string) {
	i.t.Helper()
	var created struct {
		Credential   struct{ ID string }
		ClientSecret string
	}
	i.must(i.admin("POST", "/agents/"+agent+"/credentials", nil), 201).json(i.t, &created)
	return created.Credential.ID, i.secret(created.ClientSecret)
}

// safeBuffer is a buffer that many goroutines may write to.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
