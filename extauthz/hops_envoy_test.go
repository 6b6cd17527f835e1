package extauthz_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/manifests/envoy"
)

// mesh is an authority whose certificates the edge's Envoy verifies.
type mesh struct {
	dir         string
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	serial      int64
}

func newMesh(t *testing.T, e *edge) *mesh {
	t.Helper()
	m := &mesh{dir: e.dir}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "mesh"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	pair := m.issue(t, template)
	m.key, m.certificate = pair.PrivateKey.(*ecdsa.PrivateKey), pair.Leaf
	e.write(t, "mesh.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})))
	return m
}

// issue signs a certificate, the first one by itself.
func (m *mesh) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.serial++
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(m.serial), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := m.certificate, m.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (m *mesh) workload(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "workload"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, name := range names {
		id, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, id)
	}
	return m.issue(t, template)
}

func thumbprintOf(c tls.Certificate) (asToken, asHex string) {
	digest := sha256.Sum256(c.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(digest[:]), hex.EncodeToString(digest[:])
}

// startEnvoyBehindHops is startEnvoy with a listener that verifies certificates of the mesh and leaves their headers alone.
func (e *edge) startEnvoyBehindHops(t *testing.T) {
	t.Helper()
	server := testkit.Certificates(t)
	doc, err := envoy.Render(envoy.Params{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: e.socket, Upstream: e.service.Address,
		TLS: &envoy.TLS{Certificate: server.CertificateFile(), Key: server.KeyFile(), ClientCA: filepath.Join(e.dir, "mesh.pem")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		"timeout: 0.25s # ":                     "timeout: 5s # ", // a busy test machine
		"forward_client_cert_details: SANITIZE": "forward_client_cert_details: FORWARD_ONLY",
	} {
		if bytes.Count(doc, []byte(from)) != 1 {
			t.Fatalf("%q is not where this test looks for it", from)
		}
		doc = bytes.Replace(doc, []byte(from), []byte(to), 1)
	}
	e.address = testkit.Envoy(t, doc).Listener(t, "ingress")
}

// startHop runs a real Envoy in front of the edge, with a listener for each way in which it deals with certificate headers.
// It accepts any client certificate, as RFC 8705 s2.2 allows, and has one of its own.
func (e *edge) startHop(t *testing.T, own tls.Certificate) map[string]string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, "hop.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})))
	e.write(t, "hop.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	server := testkit.Certificates(t)
	host, port, _ := strings.Cut(e.address, ":")
	doc := "static_resources:\n  listeners:\n"
	modes := []string{"SANITIZE_SET", "APPEND_FORWARD"}
	for _, mode := range modes {
		for _, cert := range []bool{true, false} {
			doc += fmt.Sprintf(`  - name: %s-%v
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{ certificate_chain: { filename: %q }, private_key: { filename: %q } }]
            validation_context: { trust_chain_verification: ACCEPT_UNTRUSTED }
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: hop
          forward_client_cert_details: %s
          set_current_client_cert_details: { subject: true, cert: %v, dns: true, uri: true }
          route_config: { virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: edge } }] }] }
          http_filters: [{ name: router, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }]
`, mode, cert, server.CertificateFile(), server.KeyFile(), mode, cert)
		}
	}
	doc += fmt.Sprintf(`  clusters:
  - name: edge
    connect_timeout: 10s
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          tls_certificates: [{ certificate_chain: { filename: %q }, private_key: { filename: %q } }]
          validation_context: { trust_chain_verification: ACCEPT_UNTRUSTED }
    load_assignment: { cluster_name: edge, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: %s, port_value: %s } } } }] }] }
`, filepath.Join(e.dir, "hop.pem"), filepath.Join(e.dir, "hop.key"), host, port)
	hop := testkit.Envoy(t, []byte(doc))
	addresses := map[string]string{"": e.address}
	for _, mode := range modes {
		addresses[mode] = hop.Listener(t, mode+"-true")
		addresses[mode+", no certificate"] = hop.Listener(t, mode+"-false")
	}
	return addresses
}

// overTLS asks for an order at one of the addresses, with a certificate or none, and returns the status.
func overTLS(t *testing.T, address string, certificate *tls.Certificate, token string, forwarded ...string) int {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the client's certificate is what is tested
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	ctx, cancel := context.WithTimeout(t.Context(), edgeWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/orders/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for _, f := range forwarded {
		req.Header.Add("X-Forwarded-Client-Cert", f)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// What a proxy in front says about client certificates counts when the proxy is trusted, and no client can say it in its place.
func TestEdgeForwardedCertificates(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	m := newMesh(t, e)
	const agent, gateway = "spiffe://mesh/agent", "spiffe://mesh/gateway"
	hop, mine, other := m.workload(t, gateway), m.workload(t, agent), m.workload(t, "spiffe://mesh/other")
	pinned := m.workload(t, "spiffe://mesh/pinned")
	_, pinnedHex := thumbprintOf(pinned)
	thumbprint, mineHex := thumbprintOf(mine)
	e.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
issuers: [{issuer: %q, jwks: {file: keys.json}, audiences: [%q]}]
policy: {dir: policies, timeout: 200ms}
trustedHops: [{principal: %q}, {certificateSha256: %q}]
`, e.socket, edgeIssuer, edgeAudience, gateway, pinnedHex))
	e.startHere(t)
	e.startEnvoyBehindHops(t)
	at := e.startHop(t, hop)

	forged := "Hash=" + mineHex + ";URI=" + agent
	byCertificate := e.token(t, "cnf", map[string]any{"x5t#S256": thumbprint})
	byWorkload := e.token(t, "cnf", map[string]any{"spiffe_id": agent})
	byHop := e.token(t, "cnf", map[string]any{"spiffe_id": gateway})
	// Names of certificates anybody can make, which Envoy does not quote.
	comma := m.workload(t, "spiffe://mesh/x,Hash="+mineHex+";URI="+agent)
	semicolon := m.workload(t, "spiffe://mesh/x;Hash="+mineHex)
	names := m.issue(t, &x509.Certificate{DNSNames: []string{"a;URI=" + agent}})
	subject := m.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: `a";URI=` + agent + `;Hash=` + mineHex + `;Subject="`}})
	const set, setBare, added, addedBare = "SANITIZE_SET", "SANITIZE_SET, no certificate", "APPEND_FORWARD", "APPEND_FORWARD, no certificate"
	for _, tc := range []struct {
		name        string
		at          string
		certificate *tls.Certificate
		token       string
		forwarded   []string
		status      int
	}{
		{"the certificate", set, &mine, byCertificate, nil, 200},
		{"the certificate by its hash", setBare, &mine, byCertificate, nil, 200},
		{"the workload", set, &mine, byWorkload, nil, 200},
		{"the certificate, appended", added, &mine, byCertificate, nil, 200},
		{"another", set, &other, byCertificate, nil, 401},
		{"another workload", set, &other, byWorkload, nil, 401},
		{"none", set, nil, byCertificate, nil, 401},
		{"the hop's own is not its clients'", set, nil, byHop, nil, 401},
		{"forged, replaced by the hop", set, &other, byCertificate, []string{forged}, 401},
		{"forged, and the hop appends", added, &other, byCertificate, []string{forged}, 401},
		{"forged in two headers", added, &other, byCertificate, []string{forged, forged}, 401},
		{"forged, the hop's part in quotes", added, &other, byCertificate, []string{forged + `;Subject="`}, 401},
		{"forged, without a certificate", added, nil, byCertificate, []string{forged}, 401},
		{"a comma in a name", set, &comma, byCertificate, nil, 401},
		{"a comma in a name, for the workload", setBare, &comma, byWorkload, nil, 401},
		{"a semicolon in a name", setBare, &semicolon, byCertificate, nil, 401},
		{"a workload in a DNS name", setBare, &names, byWorkload, nil, 401},
		{"a workload in a DNS name, with the certificate", set, &names, byWorkload, nil, 401},
		{"quotes in the subject", setBare, &subject, byCertificate, nil, 401},
		{"quotes in the subject, for the workload", addedBare, &subject, byWorkload, nil, 401},
		{"not through a hop", "", &mine, byCertificate, nil, 200},
		{"forged, not through a hop", "", &other, byCertificate, []string{forged}, 401},
		{"forged, not through a hop, for the workload", "", &other, byWorkload, []string{forged}, 401},
		{"forged, without a certificate, not through a hop", "", nil, byCertificate, []string{forged}, 401},
		{"a hop known by its certificate", "", &pinned, byCertificate, []string{forged}, 200},
		{"two elements of a hop", "", &pinned, byCertificate, []string{forged + "," + forged}, 401},
		{"two headers of a hop", "", &pinned, byCertificate, []string{forged, forged}, 401},
	} {
		before := e.service.Count()
		status := overTLS(t, at[tc.at], tc.certificate, tc.token, tc.forwarded...)
		if reached := e.service.Count() != before; status != tc.status || reached != (tc.status == http.StatusOK) {
			t.Errorf("%s: status %d, service reached: %v; want %d", tc.name, status, reached, tc.status)
		}
	}
	// A header that is not believed does not reach the service, whatever the token is bound to.
	for name, tc := range map[string]struct {
		at          string
		certificate *tls.Certificate
		forwarded   []string
		reaches     bool
	}{
		"through a hop":             {set, &mine, nil, true},
		"not through a hop":         {"", &other, []string{forged}, false},
		"not through a hop, broken": {"", &other, []string{`a"`}, false},
		"a hop that appends":        {added, &mine, []string{forged}, false},
		"of two elements":           {"", &pinned, []string{forged + "," + forged}, false},
	} {
		status := overTLS(t, at[tc.at], tc.certificate, e.token(t), tc.forwarded...)
		if got := len(e.service.Values("x-forwarded-client-cert")) > 0; status != http.StatusOK || got != tc.reaches {
			t.Errorf("%s: status %d, the service got %q", name, status, e.service.Got())
		}
	}
}
