package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	t.Parallel()
	answers := map[string]http.HandlerFunc{
		"/echo": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.Copy(w, r.Body)
			_, _ = io.WriteString(w, r.Header.Get("X-Token"))
		},
		"/html": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") },
		"/long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, strings.Repeat("x", 101))
		},
		"/redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/echo", http.StatusTemporaryRedirect)
		},
		"/busy": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) }))
	t.Cleanup(server.Close)
	client, err := New(Config{ContentTypes: []string{"application/json"}, BodyBytesMax: 100, AllowPrivate: true, AllowPlaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Ask(t.Context(), server.URL+"/echo", http.Header{"X-Token": {"!"}}, []byte("{}")); err != nil || string(got) != "{}!" {
		t.Errorf("%q, %v", got, err)
	}
	for path, code := range map[string]int{"/html": 0, "/long": 0, "/redirect": 307, "/busy": 503} {
		got, err := client.Ask(t.Context(), server.URL+path, nil, nil)
		status, _ := errors.AsType[*StatusError](err)
		if err == nil || got != nil || (status != nil) != (code != 0) || status != nil && status.Code != code {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	strict, err := New(Config{ContentTypes: []string{"application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Ask(t.Context(), server.URL+"/echo", nil, nil); err == nil {
		t.Error("a private address in the clear was asked")
	}
}
