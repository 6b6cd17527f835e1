package servertls

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/internal/smallfile"
	"github.com/agentidp/agentidp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a folder with a certificate, and the log of whoever follows it.
type world struct {
	files Files
	log   bytes.Buffer
	now   time.Time
	*Certificate
}

func newWorld(t *testing.T, clients bool) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{now: time.Now(), files: Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}}
	if clients {
		w.files.ClientCA = filepath.Join(dir, "clients.pem")
		w.write(t, w.files.ClientCA, testkit.NewAuthority(t, w.soon()).PEM)
	}
	w.issue(t, w.soon())
	return w
}

func (w *world) soon() time.Time { return w.now.Add(time.Hour) }

func (w *world) write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a new pair of an authority of its own.
func (w *world) issue(t *testing.T, notAfter time.Time) *testkit.Authority {
	t.Helper()
	a := testkit.NewAuthority(t, notAfter)
	cert, key := a.Issue(t, notAfter)
	w.write(t, w.files.Cert, cert)
	w.write(t, w.files.Key, key)
	return a
}

func (w *world) open() (err error) {
	w.Certificate, err = Open(w.files, func() time.Time { return w.now }, slog.New(slog.NewTextHandler(&w.log, nil)))
	return err
}

func (w *world) mustOpen(t *testing.T) {
	t.Helper()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
}

// look polls and returns what was logged for it.
func (w *world) look(t *testing.T) string {
	t.Helper()
	w.log.Reset()
	w.poll(t.Context())
	return w.log.String()
}

func (w *world) serial(t *testing.T) string {
	t.Helper()
	got, err := w.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Leaf.SerialNumber.String()
}

func TestFollowsItsFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.mustOpen(t)
	before := w.serial(t)
	if said := w.look(t); said != "" {
		t.Errorf("nothing changed, but: %s", said)
	}
	w.issue(t, w.soon().Add(time.Hour))
	if said := w.look(t); !strings.Contains(said, "TLS certificate replaced") || w.serial(t) == before {
		t.Errorf("the new pair is not used: %s", said)
	}
	if got := w.NotAfter(); got.Unix() != w.soon().Add(time.Hour).Unix() {
		t.Errorf("ends at %v", got)
	}
}

func TestABrokenEditChangesNothing(t *testing.T) {
	t.Parallel()
	ended := func(t *testing.T, w *world) { w.issue(t, w.now.Add(-time.Second)) }
	for name, tc := range map[string]struct {
		edit func(*testing.T, *world)
		says string
	}{
		"another pair's key": {func(t *testing.T, w *world) {
			_, key := testkit.NewAuthority(t, w.soon()).Issue(t, w.soon())
			w.write(t, w.files.Key, key)
		}, "key.pem"},
		"no PEM":         {func(t *testing.T, w *world) { w.write(t, w.files.Cert, []byte("half")) }, "cert.pem"},
		"empty":          {func(t *testing.T, w *world) { w.write(t, w.files.Cert, nil) }, "cert.pem"},
		"gone":           {func(t *testing.T, w *world) { _ = os.Remove(w.files.Key) }, "key.pem: no such file"},
		"huge":           {func(t *testing.T, w *world) { w.write(t, w.files.Cert, make([]byte, fileBytesMax+1)) }, "is larger than 1048576 bytes"},
		"ended":          {ended, "cert.pem: the certificate ended at"},
		"no authorities": {func(t *testing.T, w *world) { w.write(t, w.files.ClientCA, []byte("# none")) }, "clients.pem: holds no certificate"},
		"a key among them": {func(t *testing.T, w *world) {
			_, key := testkit.NewAuthority(t, w.soon()).Issue(t, w.soon())
			w.write(t, w.files.ClientCA, key)
		}, "clients.pem: holds a PRIVATE KEY"},
		"authorities ended": {func(t *testing.T, w *world) {
			w.write(t, w.files.ClientCA, testkit.NewAuthority(t, w.now.Add(-time.Second)).PEM)
		}, "clients.pem: holds no certificate"},
		"authorities not DER": {func(t *testing.T, w *world) {
			w.write(t, w.files.ClientCA, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, "clients.pem: "},
		"authorities are a pipe": {func(t *testing.T, w *world) {
			_ = os.Remove(w.files.ClientCA)
			_ = syscall.Mkfifo(w.files.ClientCA, 0o600)
		}, "clients.pem: is not a regular file"},
		"authorities gone":      {func(t *testing.T, w *world) { _ = os.Remove(w.files.ClientCA) }, "clients.pem: no such file"},
		"authority is a folder": {func(t *testing.T, w *world) { _ = os.Remove(w.files.ClientCA); _ = os.Mkdir(w.files.ClientCA, 0o700) }, "clients.pem: is not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true)
			w.mustOpen(t)
			registry := prometheus.NewRegistry()
			for _, m := range w.Metrics("test") {
				registry.MustRegister(m)
			}
			before := w.current.Load()
			tc.edit(t, w)
			if said := w.look(t); strings.Count(said, "the new TLS certificate is not used") != 1 || !strings.Contains(said, tc.says) {
				t.Errorf("said %q, want %q", said, tc.says)
			}
			if said := w.look(t); said != "" {
				t.Errorf("said again: %s", said)
			}
			if w.current.Load() != before {
				t.Error("what was good is not used any more")
			}
			want := map[string]float64{
				"agentidp_test_tls_failing": 1, "agentidp_test_tls_reloads_total refused": 1, "agentidp_test_tls_reloads_total replaced": 0,
				"agentidp_test_tls_certificate_not_after_timestamp_seconds": float64(w.soon().Unix()), "agentidp_test_tls_client_ca_not_after_timestamp_seconds": float64(w.soon().Unix()),
			}
			wantMetrics(t, registry, want)
			if err := (&world{files: w.files, now: w.now}).open(); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("opened afresh: %v", err)
			}
			_ = os.RemoveAll(w.files.ClientCA)
			w.write(t, w.files.ClientCA, testkit.NewAuthority(t, w.soon()).PEM)
			w.issue(t, w.soon())
			if said := w.look(t); !strings.Contains(said, "replaced") {
				t.Errorf("mended: %s", said)
			}
			want["agentidp_test_tls_failing"], want["agentidp_test_tls_reloads_total replaced"] = 0, 1
			wantMetrics(t, registry, want)
		})
	}
}

// A file system that does not answer keeps neither the certificate from being used nor the process from ending, and is named.
func TestFilesThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false)
		w.mustOpen(t)
		before, hang := w.current.Load(), make(chan struct{})
		w.reader = smallfile.Follow("cert.pem", func() (contents, error) { <-hang; return w.files.read() })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Minute)
		if !w.failing.Load() || w.refused.Load() != 1 || strings.Count(w.log.String(), "cert.pem: the file system does not answer") != 1 || w.current.Load() != before {
			t.Errorf("failing %t, said: %s", w.failing.Load(), w.log.String())
		}
		w.issue(t, w.soon())
		close(hang)
		time.Sleep(2 * poll)
		if w.failing.Load() || w.current.Load() == before {
			t.Error("the new certificate is not used after the file system came back")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func wantMetrics(t *testing.T, registry *prometheus.Registry, want map[string]float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s = %v (%t), want %v", name, v, ok, value)
		}
	}
}

// handshake has a client shake hands with what the certificate is now. The server's answer is read: with TLS 1.3 a refused client hears of it
// only then.
func (w *world) handshake(t *testing.T, client *tls.Config) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", w.Config("h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := l.Accept(); err == nil {
			_, _ = conn.Write([]byte("hello"))
			conn.Close()
		}
	}()
	defer func() { <-served }()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", l.Addr().String(), client)
	if err != nil {
		return err
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Errorf("protocol %q", got)
	}
	_, err = io.ReadAll(conn)
	return err
}

func TestClientsNeedACertificateOfTheAuthorities(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	servers, mine, others := w.issue(t, w.soon()), testkit.NewAuthority(t, w.soon()), testkit.NewAuthority(t, w.soon())
	w.write(t, w.files.ClientCA, mine.PEM)
	w.mustOpen(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(servers.PEM)
	client := func(a *testkit.Authority, notAfter time.Time) *tls.Config {
		c := &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		if a == nil {
			return c
		}
		pair, err := tls.X509KeyPair(a.Issue(t, notAfter))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
		return c
	}
	known := client(mine, w.soon())
	for range 2 { // the second could resume the first's session
		if err := w.handshake(t, known); err != nil {
			t.Errorf("a known client: %v", err)
		}
	}
	for name, config := range map[string]*tls.Config{
		"without": client(nil, w.soon()), "of another authority": client(others, w.soon()), "ended": client(mine, w.now.Add(-time.Minute)),
	} {
		if w.handshake(t, config) == nil {
			t.Errorf("a client with a certificate %s was let in", name)
		}
	}
	w.write(t, w.files.ClientCA, others.PEM)
	w.look(t)
	if w.handshake(t, known) == nil {
		t.Error("a client of an authority that was taken away was let in")
	}
	if err := w.handshake(t, client(others, w.soon())); err != nil {
		t.Errorf("a client of the new authority: %v", err)
	}
}
