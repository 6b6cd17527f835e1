package echo_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/echo"
)

func seen(t *testing.T, r *http.Request) echo.Request {
	t.Helper()
	w := httptest.NewRecorder()
	new(echo.Service).ServeHTTP(w, r)
	var got echo.Request
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return got
}

func TestAnswersWhatItSaw(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("PUT", "http://example.com/a%2Fb/c?x=1&x=2", strings.NewReader("grüße"))
	r.Header.Add("X-Agent-Id", "one")
	r.Header.Add("x-agent-id", "two")
	r.Header.Add("Accept", "*/*")
	got := seen(t, r)
	want := echo.Request{
		Method: "PUT", Path: "/a%2Fb/c", Query: "x=1&x=2", Body: "grüße",
		Headers: [][2]string{{"accept", "*/*"}, {"host", "example.com"}, {"x-agent-id", "one"}, {"x-agent-id", "two"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"one", "two"}, got.Values("x-agent-id")); diff != "" {
		t.Error(diff)
	}
}

// TestOneLinePerHeader holds the form for people, also for values that look like it.
func TestOneLinePerHeader(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{"A": {`["x", "y"]`, "\\", ""}}
	w := httptest.NewRecorder()
	new(echo.Service).ServeHTTP(w, r)
	for _, want := range []string{`    ["a", "[\"x\", \"y\"]"],`, `    ["a", "\\"],`, `    ["a", ""],`, `    ["host", "example.com"]`} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("no line %s in\n%s", want, w.Body)
		}
	}
	if diff := cmp.Diff([]string{`["x", "y"]`, "\\", ""}, new(echoed).from(t, w.Body.Bytes()).Values("a")); diff != "" {
		t.Error(diff)
	}
}

type echoed struct{ echo.Request }

func (e *echoed) from(t *testing.T, text []byte) *echo.Request {
	t.Helper()
	if err := json.Unmarshal(text, &e.Request); err != nil {
		t.Fatal(err)
	}
	return &e.Request
}

func TestBodies(t *testing.T) {
	t.Parallel()
	if got := seen(t, httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("a", 64<<10)))); len(got.Body) != 64<<10 || got.BodyTruncated {
		t.Errorf("64 KiB: %d bytes, truncated %v", len(got.Body), got.BodyTruncated)
	}
	if got := seen(t, httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("a", 64<<10+1)))); len(got.Body) != 64<<10 || !got.BodyTruncated {
		t.Errorf("one more: %d bytes, truncated %v", len(got.Body), got.BodyTruncated)
	}
	if got := seen(t, httptest.NewRequest("POST", "/", strings.NewReader("\xff\x00"))); got.Body != "" || string(got.BodyBytes) != "\xff\x00" {
		t.Errorf("not UTF-8: %q %q", got.Body, got.BodyBytes)
	}
}

func TestServerCountsAndStops(t *testing.T) {
	t.Parallel()
	s, err := echo.Listen()
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 2 {
		resp, err := client.Get("http://" + s.Address + "/anything")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if n := s.Requests(); n != 2 {
		t.Errorf("counted %d requests", n)
	}
	if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if resp, err := client.Get("http://" + s.Address); err == nil {
		resp.Body.Close()
		t.Error("it still answers")
	}
}
