package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/internal/servertls"
	"github.com/agentidp/agentidp/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server with a fresh certificate until the test ends.
func serve(t *testing.T, h http.Handler) (address string, roots *x509.CertPool, stop func() error) {
	t.Helper()
	files := testkit.Certificates(t)
	log := slog.New(slog.DiscardHandler)
	certificate, err := servertls.Open(servertls.Files{Cert: files.CertificateFile(), Key: files.KeyFile()}, time.Now, log)
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	server := &Server{Listen: "127.0.0.1:0", Handler: h, GetCertificate: certificate.Get, Log: log, Listening: func(a net.Addr) { listening <- a.String() }}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	pem, err := os.ReadFile(files.AuthorityFile())
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return <-listening, roots, stop
}

func hello(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }

func TestTLS(t *testing.T) {
	t.Parallel()
	address, roots, _ := serve(t, http.HandlerFunc(hello))
	tests := []struct {
		name   string
		config *tls.Config
		ok     bool
	}{
		{"1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		{"1.2 with AEAD", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, true},
		{"1.2 with CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
	}
	for _, tt := range tests {
		tt.config.RootCAs = roots
		conn, err := tls.Dial("tcp", address, tt.config)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "HTTP/2.0" {
		t.Errorf("spoken: %s", body)
	}
	plain, err := http.Get("http://" + address)
	if err != nil {
		return
	}
	defer plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("plaintext: %s", plain.Status)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	address, roots, _ := serve(t, http.HandlerFunc(hello))
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("a", 24<<10)) // net/http adds 4 KiB of slack
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("24 KiB of headers: %s", response.Status)
	}
}

// OPTIONS * is a request as any other: the handler answers it, and not net/http with a 200 of its own.
func TestOptionsOfTheServer(t *testing.T) {
	t.Parallel()
	address, roots, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusTeapot {
		t.Errorf("%s", response.Status)
	}
}

// Every timeout is set: the zero value of each would let one client hold a connection for ever.
func TestServerLimits(t *testing.T) {
	t.Parallel()
	s := newServer(nil, nil, slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout != headerReadTimeout || s.ReadTimeout != readTimeout || s.WriteTimeout != writeTimeout || s.IdleTimeout != idleTimeout ||
		s.MaxHeaderBytes != headerBytesMax || s.HTTP2.MaxConcurrentStreams != streamsMax {
		t.Errorf("%+v", s)
	}
	if writeTimeout <= requestTimeout || writeTimeout <= readTimeout {
		t.Error("a request could time out before its answer")
	}
}

func TestRequestsInFlightFinish(t *testing.T) {
	t.Parallel()
	inside, leave := make(chan struct{}), make(chan struct{})
	address, roots, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-leave
		_, _ = io.WriteString(w, "finished")
	}))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	answered := make(chan string, 1)
	go func() {
		response, err := (&http.Client{Transport: transport}).Get("https://" + address)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answered <- string(body)
	}()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until it accepts no more
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(leave)
	if got := <-answered; got != "finished" {
		t.Errorf("the request in flight: %s", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	address, _, _ := serve(t, http.HandlerFunc(hello))
	second := &Server{Listen: address, Log: slog.New(slog.DiscardHandler)}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listen on "+address) {
		t.Errorf("%v", err)
	}
}
