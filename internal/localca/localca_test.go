package localca_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/localca"
)

func ensure(t *testing.T, dir string, now time.Time, names ...string) localca.Folder {
	t.Helper()
	f, err := localca.Ensure(dir, now, names...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestServesEveryLoopbackName speaks TLS with each name of the certificate, trusting only ca.pem.
func TestServesEveryLoopbackName(t *testing.T) {
	t.Parallel()
	f := ensure(t, t.TempDir(), time.Now(), localca.Loopback()...)
	certificate, err := tls.LoadX509KeyPair(f.CertificateFile(), f.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
		ErrorLog: nil,
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(read(t, f.AuthorityFile()))) {
		t.Fatal("ca.pem holds no certificate")
	}
	for _, name := range append(localca.Loopback(), "example.com") {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: name}).HandshakeContext(t.Context())
		if (err == nil) != (name != "example.com") {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
}

func TestKeptWhileGood(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const day = 24 * time.Hour
	f := ensure(t, dir, now, "localhost")
	ca, leaf := read(t, f.AuthorityFile()), read(t, f.CertificateFile())
	step := func(what string, at time.Time, names []string, wantCA, wantLeaf bool) {
		t.Helper()
		ensure(t, dir, at, names...)
		newCA, newLeaf := read(t, f.AuthorityFile()), read(t, f.CertificateFile())
		if (newCA == ca) != wantCA {
			t.Errorf("%s: authority kept = %v, want %v", what, newCA == ca, wantCA)
		}
		if (newLeaf == leaf) != wantLeaf {
			t.Errorf("%s: certificate kept = %v, want %v", what, newLeaf == leaf, wantLeaf)
		}
		ca, leaf = newCA, newLeaf
	}
	host := []string{"localhost"}
	step("the next day", now.Add(day), host, true, true)
	step("near the certificate's end", now.Add(61*day), host, true, false)
	step("another name", now.Add(62*day), []string{"localhost", "127.0.0.1"}, true, false)
	step("fewer names", now.Add(62*day), host, true, true)
	step("near the authority's end", now.Add(5*365*day-100*day), host, false, false)
	if err := os.WriteFile(f.KeyFile(), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	step("broken key", now.Add(5*365*day-100*day), host, true, false)
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	step("lost authority key", now.Add(5*365*day-100*day), host, false, false)
}

func TestModesAndLimits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := ensure(t, dir, time.Now(), "localhost")
	for _, name := range []string{f.KeyFile(), filepath.Join(dir, "ca-key.pem")} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	block, _ := pem.Decode([]byte(read(t, f.CertificateFile())))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("the server certificate may do more than serve: CA %v, usage %v %v", leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 398*24*time.Hour {
		t.Errorf("it lives %s", life)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	if _, err := localca.Ensure("/nonexistent", time.Now(), "localhost"); err == nil {
		t.Error("a folder that does not exist")
	}
	if _, err := localca.Ensure(t.TempDir(), time.Now()); err == nil {
		t.Error("a certificate without a name")
	}
	one, err := localca.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := localca.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string]localca.Pair{
		"another's key":      {Certificate: one.Certificate, Key: other.Key},
		"no key":             {Certificate: one.Certificate},
		"two certificates":   {Certificate: append(append([]byte{}, one.Certificate...), other.Certificate...), Key: one.Key},
		"a key for a CA":     {Certificate: one.Key, Key: one.Key},
		"broken certificate": {Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), Key: one.Key},
		"broken key":         {Certificate: one.Certificate, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})},
	} {
		if _, err := localca.Load(pair); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}
