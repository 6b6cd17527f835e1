package extauthz_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/trust"
)

// logOf is what the program wrote so far.
func logOf(t *testing.T, p *localsvc.Process) string {
	t.Helper()
	text, err := os.ReadFile(p.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestProgramKilledIs503AndBackAgain(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	bearer := e.bearer(t)
	e.startEnvoy(t)
	if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusServiceUnavailable {
		t.Errorf("extauthz not there yet: status %d", a.Status)
	}
	first := e.startBinary(t)
	e.await(t, http.StatusOK, "/orders/1", bearer)

	allowed := e.service.Count()
	first.Abort()
	<-first.Exited()
	for range 50 {
		if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusServiceUnavailable {
			t.Fatalf("extauthz killed: status %d, want 503", a.Status)
		}
	}
	if e.service.Count() != allowed {
		t.Errorf("extauthz killed: the service was reached")
	}
	if _, err := os.Stat(e.socket); err != nil {
		t.Fatalf("the test needs the socket a killed process leaves: %v", err)
	}

	second := e.startBinary(t)
	e.await(t, http.StatusOK, "/orders/1", bearer)
	second.Signal(syscall.SIGHUP)
	awaitThat(t, "SIGHUP is said to do nothing", func() bool { return strings.Contains(logOf(t, second), `"msg":"SIGHUP does nothing`) })
	if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusOK {
		t.Errorf("SIGHUP changed the answer to %d", a.Status)
	}
	if err := second.Stop(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	if text := logOf(t, second); !strings.Contains(text, `"msg":"listening"`) || !strings.Contains(text, "unix://"+e.socket) || !strings.Contains(text, `"msg":"stopped"`) {
		t.Errorf("log: %s", text)
	}
	if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusServiceUnavailable {
		t.Errorf("extauthz stopped: status %d", a.Status)
	}
	if _, err := os.Stat(e.socket); err == nil {
		t.Error("a process that stopped in order left its socket")
	}
	if strings.Contains(logOf(t, second), strings.TrimPrefix(bearer, "Authorization: Bearer ")) {
		t.Error("a token is in the log")
	}
}

func TestProgramFollowsEditsOfPolicyAndKeys(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	bearer := e.bearer(t)
	p := e.startBinary(t)
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/1", bearer)

	e.write(t, "policies/authz.rego", strings.ReplaceAll(edgePolicy, "orders:read", "orders:admin"))
	e.await(t, http.StatusForbidden, "/orders/1", bearer)

	e.write(t, "policies/authz.rego", edgePolicy+"\nallow if {\n\tbroken(\n")
	awaitThat(t, "the broken edit is logged", func() bool { return strings.Contains(logOf(t, p), `"msg":"policy refused"`) })
	if text := logOf(t, p); !strings.Contains(text, `"file":"authz.rego","line":1`) {
		t.Errorf("the log does not name file and line: %s", text)
	}
	if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusForbidden {
		t.Errorf("a broken edit changed the answer to %d", a.Status)
	}
	e.write(t, "policies/authz.rego", edgePolicy)
	e.await(t, http.StatusOK, "/orders/1", bearer)

	other, err := jose.GenerateSigningKey(jose.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, "keys.json", "broken")
	awaitThat(t, "the broken key file is logged", func() bool {
		return strings.Contains(logOf(t, p), `"feed":"keys"`) && strings.Contains(logOf(t, p), "keys.json")
	})
	if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusOK {
		t.Errorf("a broken key file changed the answer to %d", a.Status)
	}
	e.write(t, "keys.json", string(jose.MarshalKeySet([]json.RawMessage{other.PublicJWK()})))
	e.await(t, http.StatusUnauthorized, "/orders/1", bearer)
	e.signer = other
	e.await(t, http.StatusOK, "/orders/1", e.bearer(t))
}

// issuerServer is an issuer as far as extauthz sees one: keys and a revocation list over TLS.
type issuerServer struct {
	*httptest.Server
	mu    sync.Mutex
	list  trust.RevocationList
	reads int    // of the list
	more  string // further members of the list, each with a comma before it
	keys  []byte
}

func (i *issuerServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	etag := fmt.Sprintf("%q", fmt.Sprint(i.list.Sequence))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", etag)
	if r.URL.Path == "/keys" {
		_, _ = w.Write(i.keys)
		return
	}
	i.reads++
	switch {
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		doc, _ := json.Marshal(i.list)
		_, _ = fmt.Fprintf(w, "%s%s}", strings.TrimSuffix(string(doc), "}"), i.more)
	}
}

// revoke publishes that an agent is revoked, and returns a function that says how often the list was read since.
func (i *issuerServer) revoke(agent string) (readSince func() int) {
	var before int
	i.publish(func() { before, i.list.Agents = i.reads, append(i.list.Agents, trust.Agent{ID: agent}) })
	return func() int {
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.reads - before
	}
}

// publish changes the list.
func (i *issuerServer) publish(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.list.Sequence++
	change()
}

func startIssuer(t *testing.T, signer *jose.SigningKey) (*issuerServer, string) {
	t.Helper()
	certificates := testkit.Certificates(t)
	i := &issuerServer{
		keys: jose.MarshalKeySet([]json.RawMessage{signer.PublicJWK()}),
		list: trust.RevocationList{Issuer: edgeIssuer, Sequence: 1, IssuedAt: 1, Agents: []trust.Agent{}, Organizations: []trust.Organization{}, Keys: []trust.Key{}, Tokens: []trust.Token{}},
	}
	i.Server = httptest.NewUnstartedServer(i)
	i.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.TLS = serverTLS(t, certificates.CertificateFile(), certificates.KeyFile())
	i.StartTLS()
	t.Cleanup(i.Close)
	return i, certificates.AuthorityFile()
}

func TestProgramLivesWithoutItsIssuer(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "issuers: later\n")
	issuer, ca := startIssuer(t, e.signer)
	e.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
stateDir: state
policy: {dir: policies}
issuers:
  - issuer: %s
    audiences: [%q]
    jwks: {url: %s/keys, ca: %s}
    revocations: {url: %s/revoked, ca: %s, interval: 100ms}
`, e.socket, edgeIssuer, edgeAudience, issuer.URL, ca, issuer.URL, ca))
	first := e.startBinary(t)
	e.startEnvoy(t)
	good, suspended := e.bearer(t), e.bearer(t, "sub", "agt_2", "jti", "tok_2")
	e.await(t, http.StatusOK, "/orders/1", good)
	e.await(t, http.StatusOK, "/orders/1", suspended)

	issuer.revoke("agt_2")
	e.await(t, http.StatusUnauthorized, "/orders/1", suspended)

	issuer.Close()
	awaitThat(t, "the outage is logged", func() bool { return strings.Contains(logOf(t, first), "source cannot be used") })
	if a := e.get(t, "/orders/1", good); a.Status != http.StatusOK {
		t.Errorf("issuer down: a good token gets %d", a.Status)
	}

	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	e.startBinary(t) // knows what the first one knew, from disk
	e.await(t, http.StatusOK, "/orders/1", good)
	if a := e.get(t, "/orders/1", suspended); a.Status != http.StatusUnauthorized {
		t.Errorf("started without the issuer: a suspended agent gets %d", a.Status)
	}
}

func TestProgramWithoutAnythingLoadedIs503(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
stateDir: state
policy: {dir: policies}
issuers:
  - {issuer: %s, audiences: [%q], jwks: {url: "https://127.0.0.1:1/keys"}}
`, e.socket, edgeIssuer, edgeAudience))
	e.startBinary(t)
	e.startEnvoy(t)
	a := e.get(t, "/orders/1", e.bearer(t))
	if a.Status != http.StatusServiceUnavailable || e.service.Count() != 0 {
		t.Errorf("no keys: status %d, want 503: an outage is not a denial", a.Status)
	}
}
