package fetch

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// server is a TLS server on loopback, and the file with its certificate.
func server(t *testing.T, h http.Handler) (*httptest.Server, string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what some tests are about
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, ca
}

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.ContentTypes == nil {
		cfg.ContentTypes = []string{"application/json", "application/jwk-set+json"}
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func jsonAnswer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = io.WriteString(w, body)
}

func TestGet(t *testing.T) {
	t.Parallel()
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Cache-Control", "public, max-age=300")
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("asked for compression: %q", got)
		}
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		jsonAnswer(w, `{"keys":[]}`)
	}))
	c := client(t, Config{CAFile: ca, AllowPrivate: true})
	got, err := c.Get(t.Context(), s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Document{Body: []byte(`{"keys":[]}`), ETag: `"v1"`, MaxAge: 5 * time.Minute}, got); diff != "" {
		t.Error(diff)
	}
	got, err = c.Get(t.Context(), s.URL, `"v1"`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Document{NotModified: true, ETag: `"v1"`, MaxAge: 5 * time.Minute}, got); diff != "" {
		t.Error(diff)
	}
}

func TestGetRefusesAnswers(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	handle := func(path string, h http.HandlerFunc) { mux.HandleFunc(path, h) }
	handle("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	handle("/ok", func(w http.ResponseWriter, _ *http.Request) { jsonAnswer(w, "{}") })
	handle("/html", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "{}")
	})
	handle("/untyped", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "{}")
	})
	handle("/404", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(404)
		_, _ = io.WriteString(w, `{"keys":[]}`)
	})
	handle("/500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	handle("/204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	handle("/304", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) })
	handle("/large", func(w http.ResponseWriter, _ *http.Request) { jsonAnswer(w, strings.Repeat(" ", 1025)) })
	handle("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for range 64 {
			_, _ = io.WriteString(w, strings.Repeat(" ", 1024))
			w.(http.Flusher).Flush()
		}
	})
	handle("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		jsonAnswer(w, "x")
	})
	handle("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 32<<10))
		jsonAnswer(w, "{}")
	})
	handle("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		jsonAnswer(w, "{}")
	})
	s, ca := server(t, mux)
	c := client(t, Config{CAFile: ca, AllowPrivate: true, BodyBytesMax: 1024})
	for path, want := range map[string]string{
		"/redirect": "answered 302: redirects are not followed",
		"/html":     `content type is "text/html"`,
		"/untyped":  `content type is ""`,
		"/404":      "answered 404, want 200",
		"/500":      "answered 500, want 200",
		"/204":      "answered 204, want 200",
		"/304":      "answered 304 (not modified), but was not asked whether it is: no ETag was sent",
		"/large":    "body of 1025 bytes is larger than 1024",
		"/chunked":  "body is larger than 1024 bytes",
		"/gzip":     `content encoding "gzip"`,
		"/headers":  "server response headers exceeded",
		"/short":    "body: unexpected EOF",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			doc, err := c.Get(t.Context(), s.URL+path, "")
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.URL+path) {
				t.Errorf("got %v, %v; want an error with the URL and %q", doc, err, want)
			}
		})
	}
	if _, err := c.Get(t.Context(), s.URL+"/ok", ""); err != nil {
		t.Errorf("control: %v", err)
	}
}

func TestGetEndsInTime(t *testing.T) {
	t.Parallel()
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil && r.URL.Path == "/drip" { // a byte now and then, for ever
			_, _ = io.WriteString(w, " ")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		<-r.Context().Done()
	}))
	c := client(t, Config{CAFile: ca, AllowPrivate: true, Timeout: 150 * time.Millisecond})
	for _, path := range []string{"/drip", "/silent"} {
		if _, err := c.Get(t.Context(), s.URL+path, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline", path, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, s.URL, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestGetRefusesURLs(t *testing.T) {
	t.Parallel()
	strict := client(t, Config{})
	plain := client(t, Config{AllowPlaintext: true, AllowPrivate: true})
	for url, want := range map[string]string{
		"http://issuer.example/keys":                    "must start with https://",
		"http://localhost/keys":                         "must start with https://",
		"ftp://issuer.example/":                         "must start with https://",
		"file:///etc/passwd":                            "has no host",
		"gopher://issuer.example/":                      "must start with https://",
		"https:issuer.example":                          "has no host",
		"https:///keys":                                 "has no host",
		"https://:443/keys":                             "has no host",
		"https://u:p@issuer.example/":                   "must not carry user information",
		"https://issuer.example/#x":                     "must not have a fragment",
		"https://issuer.example/\x00":                   "cannot be parsed",
		"https://[::1":                                  "cannot be parsed",
		"//issuer.example/":                             "must start with https://",
		"https://a/" + strings.Repeat("x", urlBytesMax): "is too long",
	} {
		if _, err := strict.Get(t.Context(), url, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Get(%.60q) = %v, want %q", url, err, want)
		}
		if strict.CheckURL(url) == nil {
			t.Errorf("CheckURL(%.60q) accepts it", url)
		}
	}
	if err := plain.CheckURL("http://issuer.example/"); err == nil || !strings.Contains(err.Error(), "loopback hosts only") {
		t.Errorf("plaintext to a name: %v", err)
	}
	for _, url := range []string{"http://localhost:1/", "http://127.0.0.1/", "http://[::1]:80/"} {
		if err := plain.CheckURL(url); err != nil {
			t.Errorf("CheckURL(%s) = %v", url, err)
		}
	}
}

func TestGetPlaintextOnLoopback(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { jsonAnswer(w, "{}") }))
	t.Cleanup(s.Close)
	if _, err := client(t, Config{AllowPlaintext: true}).Get(t.Context(), s.URL, ""); err != nil {
		t.Error(err)
	}
}

func TestGetNeedsGoodTLS(t *testing.T) {
	t.Parallel()
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { jsonAnswer(w, "{}") }))
	if _, err := client(t, Config{AllowPrivate: true}).Get(t.Context(), s.URL, ""); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown root: %v", err)
	}
	old := httptest.NewUnstartedServer(s.Config.Handler)
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // what the test is about
	old.StartTLS()
	t.Cleanup(old.Close)
	if _, err := client(t, Config{AllowPrivate: true, CAFile: ca}).Get(t.Context(), old.URL, ""); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

func TestGetIgnoresProxies(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nobody listens there
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { jsonAnswer(w, "{}") }))
	c := client(t, Config{AllowPrivate: true, CAFile: ca})
	if c.https.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy would dial behind the address guard")
	}
	if _, err := c.Get(t.Context(), s.URL, ""); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesConfigs(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]Config{
		"no accepted content type": {},
		"no such file":             {ContentTypes: []string{"a/b"}, CAFile: empty + "x"},
		"holds no PEM certificate": {ContentTypes: []string{"a/b"}, CAFile: empty},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %q", err, want)
		}
	}
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cacheControl, age string
		want              time.Duration
	}{
		{"", "", 0},
		{"max-age=60", "", time.Minute},
		{"public,  Max-Age=\"60\" , must-revalidate", "", time.Minute},
		{"max-age=60", "20", 40 * time.Second},
		{"max-age=60", "80", 0},
		{"max-age=60, no-store", "", 0},
		{"no-cache, max-age=60", "", 0},
		{"max-age=-1", "", 0},
		{"max-age=soon", "", 0},
		{"max-age=9223372036854775807", "", maxAgeMax},
		{"s-maxage=60", "", 0},
	} {
		h := http.Header{"Cache-Control": {tc.cacheControl}, "Age": {tc.age}}
		if got := maxAge(h); got != tc.want {
			t.Errorf("%q age %q: %v, want %v", tc.cacheControl, tc.age, got, tc.want)
		}
	}
	two := http.Header{"Cache-Control": {"max-age=60", "no-store"}}
	if got := maxAge(two); got != 0 {
		t.Errorf("no-store in a second header: %v", got)
	}
}

func TestETagTooLongIsDropped(t *testing.T) {
	t.Parallel()
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf("%q", strings.Repeat("e", etagBytesMax)))
		jsonAnswer(w, "{}")
	}))
	doc, err := client(t, Config{AllowPrivate: true, CAFile: ca}).Get(t.Context(), s.URL, "")
	if err != nil || doc.ETag != "" {
		t.Errorf("got %+v, %v", doc, err)
	}
}

func TestGetSendsItsToken(t *testing.T) {
	t.Parallel()
	var got []string
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		jsonAnswer(w, "{}")
	}))
	for _, token := range []string{"t0ken", ""} {
		if _, err := client(t, Config{AllowPrivate: true, CAFile: ca, Bearer: token}).Get(t.Context(), s.URL, ""); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"Bearer t0ken", ""}, got); diff != "" {
		t.Error(diff)
	}
}
