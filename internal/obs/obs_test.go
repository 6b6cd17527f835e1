package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoggerWritesJSONInUTC(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	NewLogger(&out, slog.LevelInfo).Info("listening", "address", "a\nb")
	var line struct{ Time, Msg, Address string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if line.Msg != "listening" || line.Address != "a\nb" || !strings.HasSuffix(line.Time, "Z") {
		t.Errorf("logged %q", out.String())
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("one record is more than one line: %q", out.String())
	}
}

func TestOperatorListener(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	missing := errors.New("policy not loaded")
	address := make(chan net.Addr, 1)
	o := &Operator{
		Listen:   "127.0.0.1:0",
		Registry: NewRegistry("test"),
		Ready: func() error {
			mu.Lock()
			defer mu.Unlock()
			return missing
		},
		Log:       slog.New(slog.DiscardHandler),
		Listening: func(a net.Addr) { address <- a },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	base := "http://" + (<-address).String()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := client.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}

	if status, body := get("/readyz"); status != 503 || !strings.Contains(body, "policy not loaded") {
		t.Errorf("/readyz = %d %q, want 503 and the reason", status, body)
	}
	mu.Lock()
	missing = nil
	mu.Unlock()
	for path, want := range map[string]string{
		"/readyz":  "ready",
		"/healthz": "ok",
		"/metrics": `agentidp_build_info{go="go1`,
	} {
		if status, body := get(path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s = %d %.200q, want 200 with %q", path, status, body, want)
		}
	}
	if status, _ := get("/debug/pprof/"); status != 404 {
		t.Errorf("/debug/pprof/ = %d without being asked for", status)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v after its context ended", err)
	}
}

func TestOperatorListenerNamesTheAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := &Operator{Listen: l.Addr().String(), Registry: NewRegistry("test"), Ready: func() error { return nil }, Log: slog.New(slog.DiscardHandler)}
	if err := o.Run(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run = %v, want the address in it", err)
	}
}

func TestPprofOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	o := &Operator{Registry: NewRegistry("test"), Ready: func() error { return nil }, Pprof: true, Log: slog.New(slog.DiscardHandler)}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/cmdline", nil)
	req.RemoteAddr, req.Host = "127.0.0.1:40000", "localhost:9103"
	w := &recorder{header: http.Header{}}
	o.Handler().ServeHTTP(w, req)
	if w.status != 0 && w.status != 200 || w.body.Len() == 0 {
		t.Errorf("pprof answers %d with %d bytes", w.status, w.body.Len())
	}
}

// Metrics and probes are for whoever reaches the port; what shows memory is for the same machine.
func TestWhatShowsMemoryIsForLoopback(t *testing.T) {
	t.Parallel()
	shown := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "a whole request") })
	o := &Operator{
		Registry: NewRegistry("test"), Ready: func() error { return nil }, Pprof: true, Log: slog.New(slog.DiscardHandler),
		More: map[string]http.Handler{"GET /debug/decision/{id}": shown},
	}
	for _, c := range []struct {
		peer, host string
		local      bool
	}{
		{"127.0.0.1:4", "127.0.0.1:9103", true},
		{"127.0.0.1:4", "localhost:9103", true},
		{"127.0.0.1:4", "localhost", true},
		{"[::1]:4", "[::1]:9103", true},
		{"[::1]:4", "[::1]", true},
		{"[::ffff:127.0.0.1]:4", "127.0.0.1", true},
		{"10.0.0.7:4", "10.0.0.8:9103", false},
		{"10.0.0.7:4", "localhost:9103", false},
		{"127.0.0.6:4", "10.0.0.8:9103", false},          // through a proxy in the pod
		{"127.0.0.1:4", "rebound.example:9103", false},   // a browser that was told so
		{"127.0.0.1:4", "localhost.example:9103", false}, // the same
		{"127.0.0.1:4", "", false},
		{"@", "localhost", false},
		{"", "localhost", false},
	} {
		for path, forAll := range map[string]bool{
			"/metrics": true, "/healthz": true, "/readyz": true, "/debug/decision/1": false, "/debug/pprof/": false, "/debug/pprof/cmdline": false, "/debug/pprof/heap": false,
			"/debug/pprof/symbol": false, "/debug/pprof/trace?seconds=0.001": false, "/debug/pprof/profile?seconds=x": false,
		} {
			if path == "/debug/pprof/profile?seconds=x" && c.local {
				continue // takes half a minute
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.RemoteAddr, req.Host = c.peer, c.host
			w := &recorder{header: http.Header{}}
			o.Handler().ServeHTTP(w, req)
			if refused := w.status == http.StatusForbidden; refused == (forAll || c.local) {
				t.Errorf("%s of %s for %s: %d %.60q", path, c.host, c.peer, w.status, w.body.String())
			}
		}
	}
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(s int)           { r.status = s }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// A patient listener waits for whoever has the address; told to end while it waits, it does.
func TestPatientOperatorListener(t *testing.T) {
	t.Parallel()
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run := func(patient bool) (address chan net.Addr, waits chan struct{}, end func() error) {
		address, waits = make(chan net.Addr, 1), make(chan struct{}, 1)
		o := &Operator{
			Listen: before.Addr().String(), Registry: NewRegistry("test"), Ready: func() error { return nil }, Patient: patient,
			Log: slog.New(slog.NewTextHandler(writerFunc(func(p []byte) {
				if strings.Contains(string(p), "its address is in use") {
					waits <- struct{}{}
				}
			}), nil)),
			Listening: func(a net.Addr) { address <- a },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- o.Run(ctx) }()
		return address, waits, func() error { cancel(); return <-ended }
	}
	if _, _, end := run(false); end() == nil {
		t.Error("listens where somebody else does")
	}
	_, waits, end := run(true)
	<-waits
	if err := end(); err != nil {
		t.Errorf("told to end while it waited: %v", err)
	}
	address, waits, end := run(true)
	<-waits
	before.Close()
	<-address
	if err := end(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
