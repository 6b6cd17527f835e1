package envoy_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/manifests/envoy"
)

// certificate is one of the server's own with a key of a kind, in files.
func certificate(t *testing.T, key crypto.Signer) *envoy.TLS {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := &envoy.TLS{Certificate: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server-key.pem")}
	for file, block := range map[string]*pem.Block{files.Certificate: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Clients get TLS 1.3, or 1.2 with ECDHE and AES-GCM or ChaCha20, and nothing else: every version and every suite that Go can speak is tried against the real Envoy.
func TestVersionsAndSuitesOfTLS(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for kind, key := range map[string]crypto.Signer{"ECDSA": ec, "RSA": rs} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorldTLS(t, certificate(t, key), func(doc string) string { return doc })
			shake := func(version uint16, suites ...uint16) (tls.ConnectionState, error) {
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: exchangeTimeout}, "tcp", w.address, &tls.Config{
					MinVersion: version, MaxVersion: version, CipherSuites: suites, NextProtos: []string{"h2"},
					InsecureSkipVerify: true, //nolint:gosec // the server is the one that was started
				})
				if err != nil {
					return tls.ConnectionState{}, err
				}
				defer conn.Close()
				return conn.ConnectionState(), nil
			}
			all := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
			var ids []uint16
			accepted := 0
			for _, suite := range all {
				if suite.SupportedVersions[0] == tls.VersionTLS13 {
					continue
				}
				ids = append(ids, suite.ID)
				good := strings.HasPrefix(suite.Name, "TLS_ECDHE_"+kind) && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "_CHACHA20_"))
				state, err := shake(tls.VersionTLS12, suite.ID)
				if (err == nil) != good || good && (state.CipherSuite != suite.ID || state.NegotiatedProtocol != "h2") {
					t.Errorf("%s: %v, want it accepted: %v", suite.Name, err, good)
				}
				if good {
					accepted++
				}
			}
			if accepted != 3 {
				t.Errorf("%d suites of TLS 1.2 are accepted, want 3", accepted)
			}
			for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
				if _, err := shake(version, ids...); err == nil {
					t.Errorf("%s is spoken", tls.VersionName(version))
				}
			}
			if state, err := shake(tls.VersionTLS13); err != nil || state.Version != tls.VersionTLS13 {
				t.Errorf("TLS 1.3: %v", err)
			}
		})
	}
}

// The listener that speaks TLS is as valid as the plain one, with any certificate of clients and with those of an authority.
func TestRenderWithTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	files := certificate(t, key)
	for clients, want := range map[string]string{"": "ACCEPT_UNTRUSTED }", files.Certificate: fmt.Sprintf("trusted_ca: { filename: %q }", files.Certificate)} {
		doc, err := envoy.Render(envoy.Params{
			Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: "/a", Upstream: "127.0.0.1:1",
			TLS: &envoy.TLS{Certificate: files.Certificate, Key: files.Key, ClientCA: clients},
		})
		if err != nil || strings.Count(string(doc), want) != 1 {
			t.Fatalf("%v\n%s", err, doc)
		}
		file := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(file, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		validate(t, file)
	}
}
