package extauthz_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/manifests/envoy"
)

// htu is what Envoy receives: its own scheme, the host the client named, the path it normalised.
func TestEdgeDPoP(t *testing.T) {
	t.Parallel()
	e := startEdge(t, "dpop: {nonce: required}\n")
	holder := josetest.NewHolder()
	const uri = "http://service.example/orders/1"
	token := e.token(t, "cnf", map[string]any{"jkt": holder.Thumbprint()})
	scheme := "Authorization: DPoP " + token
	prove := func(method, uri, nonce string) string {
		return "DPoP: " + holder.Prove(method, uri, token, time.Now(), "nonce", nonce)
	}
	challenged := e.get(t, "/orders/1", scheme, prove("GET", uri, "none"))
	nonce := challenged.Header.Get("DPoP-Nonce")
	if challenged.Status != http.StatusUnauthorized || nonce == "" ||
		!strings.HasPrefix(challenged.Header.Get("WWW-Authenticate"), `DPoP realm="agentidp", error="use_dpop_nonce"`) {
		t.Fatalf("status %d, headers %v", challenged.Status, challenged.Header)
	}
	once := prove("GET", uri, nonce)
	for _, tc := range []struct {
		name, target string
		headers      []string
		status       int
	}{
		{"good", "/orders/1", []string{scheme, once}, 200},
		{"good, with a query", "/orders/1?x=%2F", []string{scheme, prove("GET", uri, nonce)}, 200},
		{"good, normalised by Envoy", "/x/../orders//1", []string{scheme, prove("GET", uri, nonce)}, 200},
		{"good, default port", "/orders/1", []string{scheme, prove("GET", "http://service.example:80/orders/1", nonce)}, 200},
		{"again", "/orders/1", []string{scheme, once}, 401},
		{"another path", "/orders/2", []string{scheme, prove("GET", uri, nonce)}, 401},
		{"as the client wrote it", "/x/../orders//1", []string{scheme, prove("GET", "http://service.example/x/../orders//1", nonce)}, 401},
		{"another method", "/orders/1", []string{scheme, prove("POST", uri, nonce)}, 401},
		{"another host", "/orders/1", []string{scheme, prove("GET", "http://orders.example/orders/1", nonce)}, 401},
		{"https", "/orders/1", []string{scheme, prove("GET", "https://service.example/orders/1", nonce)}, 401},
		{"https, says the client", "/orders/1", []string{scheme, prove("GET", "https://service.example/orders/1", nonce), "x-forwarded-proto: https"}, 401},
		{"another host, says the client", "/orders/1", []string{scheme, prove("GET", "http://orders.example/orders/1", nonce), "x-forwarded-host: orders.example"}, 401},
		{"no proof", "/orders/1", []string{scheme}, 401},
		{"two proofs", "/orders/1", []string{scheme, prove("GET", uri, nonce), prove("GET", uri, nonce)}, 400},
		{"as Bearer", "/orders/1", []string{"Authorization: Bearer " + token}, 401},
		{"as Bearer, with a proof", "/orders/1", []string{"Authorization: Bearer " + token, prove("GET", uri, nonce)}, 401},
	} {
		before := e.service.Count()
		a := e.get(t, tc.target, tc.headers...)
		if reached := e.service.Count() != before; a.Status != tc.status || reached != (tc.status == http.StatusOK) {
			t.Errorf("%s: status %d, service reached: %v; want %d (%s)", tc.name, a.Status, reached, tc.status, a.Body)
		}
	}
}

// startEnvoyTLS is startEnvoy with a listener that asks for a client certificate and takes any, as RFC 8705 s2.2 allows.
func (e *edge) startEnvoyTLS(t *testing.T) {
	t.Helper()
	certificates := testkit.Certificates(t)
	doc, err := envoy.Render(envoy.Params{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: e.socket, Upstream: e.service.Address,
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
	e.address = testkit.Envoy(t, doc).Listener(t, "ingress")
}

// clientCertificate is a self-signed certificate for a workload, and its thumbprint (RFC 8705 s3.1).
func clientCertificate(t *testing.T, spiffeID string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(spiffeID)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, URIs: []*url.URL{id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.RawURLEncoding.EncodeToString(digest[:])
}

// What a token is bound to is compared with the certificate of the handshake, and with nothing a client can write.
func TestEdgeCertificates(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.startHere(t)
	e.startEnvoyTLS(t)
	const workload = "spiffe://example.org/ns/shop/sa/reader"
	mine, thumbprint := clientCertificate(t, workload)
	renewed, _ := clientCertificate(t, workload)
	another, _ := clientCertificate(t, "spiffe://example.org/ns/shop/sa/writer")
	holder := josetest.NewHolder()
	byCertificate := e.token(t, "cnf", map[string]any{"x5t#S256": thumbprint})
	byWorkload := e.token(t, "cnf", map[string]any{"spiffe_id": workload})
	byBoth := e.token(t, "cnf", map[string]any{"x5t#S256": thumbprint, "jkt": holder.Thumbprint()})
	for _, tc := range []struct {
		name        string
		certificate *tls.Certificate
		token       string
		status      int
	}{
		{"the certificate", &mine, byCertificate, 200},
		{"renewed", &renewed, byCertificate, 401},
		{"another", &another, byCertificate, 401},
		{"none", nil, byCertificate, 401},
		{"the workload", &mine, byWorkload, 200},
		{"the workload, renewed", &renewed, byWorkload, 200},
		{"another workload", &another, byWorkload, 401},
		{"no workload", nil, byWorkload, 401},
		{"bound to a key too", &mine, byBoth, 401},
		{"not bound", nil, e.token(t), 200},
	} {
		config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the client's certificate is what is tested
		if tc.certificate != nil {
			config.Certificates = []tls.Certificate{*tc.certificate}
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.address+"/orders/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tc.token)
		req.Header.Set("X-Forwarded-Client-Cert", "Hash="+thumbprint+";URI="+workload)
		before := e.service.Count()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if reached := e.service.Count() != before; resp.StatusCode != tc.status || reached != (tc.status == http.StatusOK) {
			t.Errorf("%s: status %d, service reached: %v; want %d", tc.name, resp.StatusCode, reached, tc.status)
		}
	}
	// Both hold, and htu is https because Envoy ends the TLS connection.
	proof := holder.Prove("GET", "https://"+e.address+"/orders/1", byBoth, time.Now())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{mine}, InsecureSkipVerify: true, //nolint:gosec // as above
	}}}
	awaitThat(t, "certificate and key together are accepted, with a nonce if asked for", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+e.address+"/orders/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "DPoP "+byBoth)
		req.Header.Set("DPoP", proof)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if nonce := resp.Header.Get("DPoP-Nonce"); nonce != "" {
			proof = holder.Prove("GET", "https://"+e.address+"/orders/1", byBoth, time.Now(), "nonce", nonce)
		}
		return resp.StatusCode == http.StatusOK
	})
}
