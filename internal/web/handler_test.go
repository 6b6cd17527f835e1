package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
)

// fixture is a Handler with its log and metrics.
type fixture struct {
	*web.Handler
	log      *bytes.Buffer // read after the requests
	registry *prometheus.Registry
}

func newFixture(t *testing.T, cfg web.Config) fixture {
	t.Helper()
	f := fixture{log: &bytes.Buffer{}, registry: prometheus.NewRegistry()}
	cfg.Metrics, cfg.MetricsPrefix, cfg.Now = f.registry, "agentidp_test", time.Now
	cfg.Log = slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h, err := web.NewHandler(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.Handler = h
	return f
}

func (f fixture) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

// line is the last line of the log.
func (f fixture) line(t *testing.T) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatalf("%v in %q", err, f.log)
	}
	return line
}

func route(path string, h http.HandlerFunc) web.Route {
	return web.Route{Name: path, Method: "GET", Path: path, Handler: h}
}

func TestEveryAnswerHasTheHeadersAndOneLogLine(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{Routes: []web.Route{route("/things/{id}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") })}})
	r := httptest.NewRequest("GET", "/things/secret-in-path?token=secret-in-query", nil)
	r.Header.Set("X-Request-Id", "chosen-by-the-client")
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	id := w.Header().Get("X-Request-Id")
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "X-Request-Id": id,
	} {
		if got := w.Header().Get(name); got != want || got == "" || got == "chosen-by-the-client" {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	line := f.line(t)
	for name, want := range map[string]any{
		"msg": "request", "request_id": id, "method": "GET", "route": "/things/{id}", "status": 200.0, "bytes": 3.0, "source": "192.0.2.7", "level": "DEBUG",
	} {
		if line[name] != want {
			t.Errorf("log: %s is %v, want %v", name, line[name], want)
		}
	}
	if strings.Contains(f.log.String(), "secret") {
		t.Errorf("path or query were logged: %s", f.log)
	}
	f.get("/things/secret-in-path/more")
	if line := f.line(t); line["route"] != "none" || line["method"] != "none" || line["status"] != 404.0 || line["level"] != "INFO" || strings.Contains(f.log.String(), "secret") {
		t.Errorf("log of an unknown path: %v", line)
	}
}

func TestPanicsAreInternalErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{Routes: []web.Route{
		route("/early", func(http.ResponseWriter, *http.Request) { panic("canary") }),
		route("/late", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half an answer")
			panic("canary")
		}),
	}})
	w := f.get("/early")
	if w.Code != 500 || strings.Contains(w.Body.String(), "canary") || !strings.Contains(w.Body.String(), `"code":"internal"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if line := f.line(t); line["level"] != "ERROR" || line["err"] != "panic: canary" || !strings.Contains(f.log.String(), "handler_test.go") {
		t.Errorf("log: %s", f.log)
	}
	aborted := func() (p any) {
		defer func() { p = recover() }()
		f.get("/late")
		return nil
	}()
	if aborted != http.ErrAbortHandler {
		t.Errorf("half an answer passed for a whole one: %v", aborted)
	}
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(`
# HELP agentidp_test_http_panics_total Panics recovered; each is a bug.
# TYPE agentidp_test_http_panics_total counter
agentidp_test_http_panics_total 2
# HELP agentidp_test_http_requests_in_flight Requests being handled.
# TYPE agentidp_test_http_requests_in_flight gauge
agentidp_test_http_requests_in_flight 0
`), "agentidp_test_http_panics_total", "agentidp_test_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
}

func TestOverloadIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	inside, leave := make(chan struct{}, 2), make(chan struct{})
	f := newFixture(t, web.Config{ConcurrentMax: 2, Routes: []web.Route{route("/slow", func(http.ResponseWriter, *http.Request) {
		inside <- struct{}{}
		<-leave
	})}})
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { f.get("/slow") })
		<-inside
	}
	w := f.get("/slow")
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"code":"overloaded"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	close(leave)
	running.Wait()
	if w := f.get("/slow"); w.Code != 200 {
		t.Errorf("after the others left: %d", w.Code)
	}
}

// A client that sends its body slowly keeps nobody out.
func TestSlowBodiesTakeNoRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{ConcurrentMax: 1, Routes: []web.Route{
		route("/fast", func(http.ResponseWriter, *http.Request) {}),
		{Method: "POST", Path: "/slow", Handler: web.JSON(func(*http.Request, web.None) (reply web.Reply[web.None], err error) { return })},
	}})
	body, sending := io.Pipe()
	done := make(chan int, 1)
	go func() {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/slow", body)
		r.Header.Set("Content-Type", "application/json")
		f.ServeHTTP(w, r)
		done <- w.Code
	}()
	if _, err := sending.Write([]byte("{")); err != nil { // it is being read
		t.Fatal(err)
	}
	if w := f.get("/fast"); w.Code != 200 {
		t.Errorf("kept out: %d %s", w.Code, w.Body)
	}
	_, _ = sending.Write([]byte("}"))
	sending.Close()
	if code := <-done; code != 204 {
		t.Errorf("the slow one: %d", code)
	}
}

func TestProtectedRoutesAskFirst(t *testing.T) {
	t.Parallel()
	type who struct{}
	f := newFixture(t, web.Config{
		Challenge: "Bearer",
		Authenticate: func(r *http.Request) (context.Context, error) {
			if r.Header.Get("Authorization") == "" {
				return nil, &problem.Error{Kind: problem.Unauthenticated}
			}
			return context.WithValue(r.Context(), who{}, "me"), nil
		},
		Routes: []web.Route{{Method: "GET", Path: "/mine", Protected: true, Handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Context().Value(who{}).(string))
		}}},
	})
	if w := f.get("/mine"); w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without: %d %v", w.Code, w.Header())
	}
	r := httptest.NewRequest("GET", "/mine", nil)
	r.Header.Set("Authorization", "x")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code != 200 || w.Body.String() != "me" {
		t.Errorf("with: %d %s", w.Code, w.Body)
	}
}

func TestHandlerRefusesBadTables(t *testing.T) {
	t.Parallel()
	ok := func(http.ResponseWriter, *http.Request) {}
	for name, table := range map[string][]web.Route{
		"protected without authentication": {{Method: "GET", Path: "/a", Protected: true, Handler: ok}},
		"twice":                            {route("/a", ok), route("/a", ok)},
		"no handler":                       {route("/a", nil)},
	} {
		if _, err := web.NewHandler(web.Config{Routes: table, Metrics: prometheus.NewRegistry(), MetricsPrefix: "x"}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestErrorsAreLoggedWithTheirCauseAndAnsweredWithout(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{Routes: []web.Route{
		route("/plain", func(w http.ResponseWriter, r *http.Request) { web.Fail(w, r, errors.New("the cause")) }),
		route("/noted", func(w http.ResponseWriter, r *http.Request) {
			web.Note(r.Context(), errors.New("the cause"))
			w.WriteHeader(400)
		}),
	}})
	if w := f.get("/plain"); w.Code != 500 || strings.Contains(w.Body.String(), "cause") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if line := f.line(t); line["err"] != "the cause" || line["level"] != "ERROR" {
		t.Errorf("log: %v", line)
	}
	f.get("/noted")
	if line := f.line(t); line["err"] != "the cause" || line["level"] != "INFO" {
		t.Errorf("log: %v", line)
	}
}

func TestMetricsHaveClosedLabels(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{Routes: []web.Route{route("/things/{id}", func(http.ResponseWriter, *http.Request) {})}})
	for _, path := range []string{"/things/1", "/things/2", "/nothing", "/nothing/else"} {
		f.get(path)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest("INVENTED", "/nothing", nil))
	if err := testutil.GatherAndCompare(f.registry, strings.NewReader(`
# HELP agentidp_test_http_requests_total Requests answered, by route, method and status.
# TYPE agentidp_test_http_requests_total counter
agentidp_test_http_requests_total{method="GET",route="/things/{id}",status="200"} 2
agentidp_test_http_requests_total{method="none",route="none",status="404"} 3
`), "agentidp_test_http_requests_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(f.registry); err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}
