package servertls

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"
)

// selfSigned is a certificate with a key of its own kind: suites are chosen by it.
func selfSigned(t *testing.T, ec bool) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	pair := &tls.Certificate{}
	if ec {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		pair.Certificate, pair.PrivateKey = [][]byte{der}, key
		return pair
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pair.Certificate, pair.PrivateKey = [][]byte{der}, key
	return pair
}

// handshake is a real one, over TCP, of a client that offers this.
func handshake(t *testing.T, certificate *tls.Certificate, version uint16, suites []uint16) (tls.ConnectionState, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		_ = tls.Server(raw, Config(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil })).Handshake() // the client says how it ended
	}()
	defer func() { <-served }()
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(leaf)
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	client := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version, CipherSuites: suites})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = client.HandshakeContext(ctx)
	return client.ConnectionState(), err
}

// Every suite that Go knows is offered alone: those of TLS 1.3, and of 1.2 those with forward secrecy and authenticated encryption, are taken; no other is.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	good := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	certificates := []*tls.Certificate{selfSigned(t, true), selfSigned(t, false)}
	taken := map[uint16]bool{}
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if slices.Contains(suite.SupportedVersions, tls.VersionTLS13) {
			continue // they are no choice of the client: see below
		}
		for _, certificate := range certificates {
			state, err := handshake(t, certificate, tls.VersionTLS12, []uint16{suite.ID})
			if err != nil {
				continue
			}
			taken[suite.ID] = true
			if state.CipherSuite != suite.ID || !slices.Contains(good, suite.ID) {
				t.Errorf("%s is taken", suite.Name)
			}
		}
	}
	for _, suite := range good {
		if !taken[suite] {
			t.Errorf("%s is refused", tls.CipherSuiteName(suite))
		}
	}
	for _, certificate := range certificates {
		if state, err := handshake(t, certificate, tls.VersionTLS13, nil); err != nil || state.Version != tls.VersionTLS13 {
			t.Errorf("TLS 1.3: %v", err)
		}
		for _, old := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			if _, err := handshake(t, certificate, old, nil); err == nil {
				t.Errorf("%s is spoken", tls.VersionName(old))
			}
		}
	}
}
