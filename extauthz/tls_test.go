package extauthz_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/agentidp/agentidp/internal/testkit"
)

// tlsEdge is an edge whose extauthz speaks TLS on a port, to clients with a certificate.
type tlsEdge struct {
	*edge
	address   string // of extauthz
	metrics   string
	authority *testkit.Authority
}

func newTLSEdge(t *testing.T) *tlsEdge {
	t.Helper()
	e := &tlsEdge{edge: newEdge(t, "tls: {cert: cert.pem, key: key.pem, clientCA: ca.pem}\nmetrics: {listen: \"127.0.0.1:0\"}\n")}
	e.rotate(t)
	text, err := os.ReadFile(filepath.Join(e.dir, "extauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, "extauthz.yaml", strings.Replace(string(text), "listen: unix://"+e.socket, "listen: [\"tcp://127.0.0.1:0\", \"unix://"+e.socket+"\"]", 1))
	bound := make(chan [2]string, 3)
	stop := e.run(t, func(name string, addr net.Addr) { bound <- [2]string{name, addr.String()} })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	for range 3 {
		switch a := <-bound; {
		case strings.HasPrefix(a[0], "tcp"):
			e.address = a[1]
		case a[0] == "metrics":
			e.metrics = "http://" + a[1]
		}
	}
	return e
}

// rotate replaces authority, certificate and key, and those of the clients.
func (e *tlsEdge) rotate(t *testing.T) {
	t.Helper()
	until := time.Now().Add(time.Hour)
	e.authority = testkit.NewAuthority(t, until)
	for _, name := range []string{"", "client-"} {
		cert, key := e.authority.Issue(t, until)
		e.write(t, name+"cert.pem", string(cert))
		e.write(t, name+"key.pem", string(key))
	}
	e.write(t, "ca.pem", string(e.authority.PEM))
}

// transport is Envoy's side of it.
func (e *tlsEdge) transport() string {
	file := func(name string) string { return fmt.Sprintf("{ filename: %q }", filepath.Join(e.dir, name)) }
	return fmt.Sprintf(`      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          common_tls_context:
            tls_certificates: [{ certificate_chain: %s, private_key: %s }]
            validation_context: { trusted_ca: %s }
`, file("client-cert.pem"), file("client-key.pem"), file("ca.pem"))
}

// check asks once on a new connection.
func (e *tlsEdge) check(t *testing.T, client *tls.Config) error {
	t.Helper()
	conn, err := grpc.NewClient(e.address, grpc.WithTransportCredentials(credentials.NewTLS(client)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), question("Bearer "+e.token(t)))
	if err == nil && answer.GetOkResponse() == nil {
		t.Errorf("answered %v", answer)
	}
	return err
}

// client trusts the authority as it is now, and has a certificate of it.
func (e *tlsEdge) client(t *testing.T) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(e.authority.PEM)
	pair, err := tls.X509KeyPair(e.authority.Issue(t, time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

func TestPortsSpeakTLS(t *testing.T) {
	t.Parallel()
	e := newTLSEdge(t)
	good := e.client(t)
	if err := e.check(t, good); err != nil {
		t.Errorf("a client with a certificate: %v", err)
	}
	for name, config := range map[string]*tls.Config{
		"no certificate": {RootCAs: good.RootCAs}, "TLS 1.1": {RootCAs: good.RootCAs, Certificates: good.Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"TLS 1.2 with CBC": {RootCAs: good.RootCAs, Certificates: good.Certificates, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}},
	} {
		if e.check(t, config) == nil {
			t.Errorf("%s: answered", name)
		}
	}
	plain := authv3.NewAuthorizationClient(dial(t, e.address))
	if _, err := plain.Check(t.Context(), question("Bearer "+e.token(t))); err == nil {
		t.Error("plaintext is answered on a port")
	}
	unix := authv3.NewAuthorizationClient(dial(t, "unix://"+e.socket))
	if _, err := unix.Check(t.Context(), question("Bearer "+e.token(t))); err != nil {
		t.Errorf("the unix socket: %v", err)
	}
}

// Authority, certificate and key are replaced while Envoy asks, once well and once badly.
func TestCertificatesAreReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	e := newTLSEdge(t)
	e.startEnvoyBefore(t, e.transport(), e.address)
	e.await(t, http.StatusOK, "/orders/1", e.bearer(t))
	requests := e.loadThroughEnvoy(t)
	requests.flow(t)
	before := e.client(t)
	e.rotate(t)
	now := e.client(t)
	awaitThat(t, "the new certificate is used", func() bool { return e.check(t, now) == nil })
	if e.check(t, before) == nil {
		t.Error("a client of the authority that was replaced is let in")
	}
	requests.flow(t)
	e.write(t, "key.pem", "half")
	awaitThat(t, "the broken key is logged", func() bool {
		return strings.Contains(e.log.String(), "the new TLS certificate is not used") && strings.Contains(e.log.String(), "key.pem")
	})
	if err := e.check(t, now); err != nil {
		t.Errorf("after a broken edit: %v", err)
	}
	requests.flow(t)
	requests.wantNoFailure(t)
	_, text := httpGet(t, e.metrics+"/metrics")
	for _, want := range []string{
		"agentidp_extauthz_tls_failing 1", `agentidp_extauthz_tls_reloads_total{result="refused"}`,
		"agentidp_extauthz_tls_certificate_not_after_timestamp_seconds 1", "agentidp_extauthz_tls_client_ca_not_after_timestamp_seconds 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	e.rotate(t) // mended; an Envoy that starts afterwards trusts the new authority alone
	awaitThat(t, "the mended certificate is used", func() bool { return e.check(t, e.client(t)) == nil })
	e.startEnvoyBefore(t, e.transport(), e.address)
	e.await(t, http.StatusOK, "/orders/1", e.bearer(t))
}
