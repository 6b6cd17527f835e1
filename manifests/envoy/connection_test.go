package envoy_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/manifests/envoy"
)

// HTTP/2 settings (RFC 9113 s6.5.2).
const (
	settingStreamsMax    = 3
	settingInitialWindow = 4
	windowDefault        = 65535
)

// http2Options are asked on the wire: the first frames a server sends say what it allows.
func http2Options() []option {
	setting := func(id uint16, want uint32) func(t *testing.T, w *world) bool {
		return func(t *testing.T, w *world) bool {
			settings, _ := w.http2Greeting(t)
			return settings[id] == want
		}
	}
	return []option{
		{"at most 100 streams of a connection", "                  max_concurrent_streams: 100\n", "", setting(settingStreamsMax, 100)},
		{"64 KiB in flight on a stream", "                  initial_stream_window_size: 65536 # 64 KiB\n", "", setting(settingInitialWindow, 65536)},
		{"1 MiB in flight on a connection", "                  initial_connection_window_size: 1048576 # 1 MiB\n", "", func(t *testing.T, w *world) bool {
			_, window := w.http2Greeting(t)
			return window == 1<<20
		}},
	}
}

// http2Greeting opens HTTP/2 by prior knowledge and returns Envoy's settings and the connection's window.
func (w *world) http2Greeting(t *testing.T) (settings map[uint16]uint32, window uint32) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", w.address, exchangeTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	const preface, emptySettings, ping = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"
	if _, err := io.WriteString(conn, preface+emptySettings+ping); err != nil {
		t.Fatal(err)
	}
	settings, window = map[uint16]uint32{}, windowDefault
	for pings := 1; ; {
		header := make([]byte, 9)
		if _, err := io.ReadFull(conn, header); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
		if _, err := io.ReadFull(conn, body); err != nil {
			t.Fatal(err)
		}
		switch kind := header[3]; kind {
		case 4: // SETTINGS
			for ; len(body) >= 6; body = body[6:] {
				settings[binary.BigEndian.Uint16(body)] = binary.BigEndian.Uint32(body[2:])
			}
		case 8: // WINDOW_UPDATE
			window += binary.BigEndian.Uint32(body)
		case 6: // PING, the answer to ours: what Envoy wrote in the same turn may still come, so ask once more
			if pings == 2 {
				return settings, window
			}
			pings++
			if _, err := io.WriteString(conn, ping); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	const line = "                request_headers_timeout: 10s\n"
	for name, tc := range map[string]struct {
		line string
		cut  bool
	}{
		"with a limit":    {strings.Replace(line, "10s", "0.2s", 1), true},
		"without a limit": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(doc string) string { return replaceOnce(t, doc, line, tc.line) })
			conn, err := net.DialTimeout("tcp", w.address, exchangeTimeout)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nx-never-ends: "); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if cut := err == nil && resp.StatusCode == http.StatusRequestTimeout; cut != tc.cut {
				t.Errorf("cut off: %v, want %v (%v)", cut, tc.cut, err)
			}
		})
	}
}

// A client certificate reaches extauthz as Envoy verified it; tokens bound to one (RFC 8705) need it.
func TestPeerCertificateReachesExtauthz(t *testing.T) {
	t.Parallel()
	certificates := testkit.Certificates(t)
	pair, err := tls.LoadX509KeyPair(certificates.CertificateFile(), certificates.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	const line = "                      include_peer_certificate: true # tokens bound to a certificate (RFC 8705) need it\n"
	for _, with := range []bool{true, false} {
		t.Run(fmt.Sprintf("include_peer_certificate %v", with), func(t *testing.T) {
			t.Parallel()
			w := newWorldTLS(t, &envoy.TLS{Certificate: certificates.CertificateFile(), Key: certificates.KeyFile()}, func(doc string) string {
				if !with {
					doc = replaceOnce(t, doc, line, "")
				}
				return doc
			})
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
				Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, //nolint:gosec // the client's certificate is what is tested
			}}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.address+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got := w.authorizer.question().GetAttributes().GetSource().GetCertificate()
			if resp.StatusCode != http.StatusOK || strings.HasPrefix(got, "-----BEGIN%20CERTIFICATE") != with {
				t.Errorf("status %d, certificate %.40q", resp.StatusCode, got)
			}
		})
	}
}
