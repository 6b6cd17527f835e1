package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func poster(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{ContentTypes: []string{"application/json"}, AllowPrivate: true, AllowPlaintext: true}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestPost(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("User-Agent") + " " + string(body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	if err := poster(t, nil).Post(t.Context(), server.URL, http.Header{"Content-Type": {"application/json"}}, []byte("[1]")); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "POST application/json agentidp [1]" {
		t.Errorf("the server got %q", text)
	}
}

func TestPostSaysWhatWasAnswered(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]StatusError{
		500: {Code: 500}, 400: {Code: 400}, 302: {Code: 302}, 429: {Code: 429, RetryAfter: 7 * time.Second},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			if code == 429 {
				w.Header().Set("Retry-After", "7")
			}
			w.WriteHeader(code)
		}))
		err := poster(t, nil).Post(t.Context(), server.URL, nil, nil)
		server.Close()
		var status *StatusError
		if !errors.As(err, &status) || *status != want {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// Post has the guards of Get: URL, address, time.
func TestPostIsGuarded(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	if err := poster(t, func(c *Config) { c.AllowPrivate = false }).Post(t.Context(), server.URL, nil, nil); !errors.Is(err, ErrAddress) {
		t.Errorf("a private address: %v", err)
	}
	for _, url := range []string{"http://service.example/", "ftp://localhost/", "https://user@localhost/", ":"} {
		if err := poster(t, nil).Post(t.Context(), url, nil, nil); err == nil || !strings.HasPrefix(err.Error(), "fetch: ") {
			t.Errorf("%s: %v", url, err)
		}
	}
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer func() { plain.CloseClientConnections(); plain.Listener.Close() }()
	if err := poster(t, func(c *Config) { c.Timeout = 10 * time.Millisecond }).Post(t.Context(), plain.URL, nil, nil); err == nil {
		t.Error("a server that hangs is waited for")
	}
}
