package web_test

import (
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/web"
)

const (
	someTrace = "0af7651916cd43dd8448eb211c80319c"
	someSpan  = "b7ad6b7169203331"
)

func TestRequestsAreSpans(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, path string
		traceparent  []string
		want         map[string]string // nil for no span
		name, trace  string
		status       int64
	}{
		"joined": {
			"GET", "/things/secret-in-path?token=secret-in-query",
			[]string{"00-" + someTrace + "-" + someSpan + "-01"},
			map[string]string{"http.request.method": "GET", "http.route": "/things/{id}"},
			"GET /things/{id}", someTrace, 200,
		},
		"not sampled": {"GET", "/things/1", []string{"00-" + someTrace + "-" + someSpan + "-00"}, nil, "", "", 0},
		"no parent":   {"GET", "/things/1", nil, nil, "", "", 0}, // ratio: 0
		"two parents": {"GET", "/things/1", []string{"00-" + someTrace + "-" + someSpan + "-01", "00-" + someTrace + "-" + someSpan + "-01"}, nil, "", "", 0},
		"no such path": {
			"GET", "/secret-in-path",
			[]string{"00-" + someTrace + "-" + someSpan + "-01"},
			map[string]string{"http.request.method": "GET"},
			"GET", someTrace, 404,
		},
		"a method nobody knows": {
			"SECRET-IN-METHOD", "/things/1",
			[]string{"00-" + someTrace + "-" + someSpan + "-01"},
			map[string]string{"http.request.method": "_OTHER"},
			"HTTP", someTrace, 405,
		},
		"a panic": {
			"GET", "/panic",
			[]string{"00-" + someTrace + "-" + someSpan + "-01"},
			map[string]string{"http.request.method": "GET", "http.route": "/panic", "error.type": "500"},
			"GET /panic", someTrace, 500,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := testkit.Collect(t)
			cfg := &obs.Tracing{Endpoint: collector.URL}
			cfg.SetDefaults()
			cfg.Ratio = 0
			tracer, err := obs.NewTracer(cfg, obs.TracerEnv{
				Service: "test", Prefix: "agentidp_test", Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer tracer.Close()
			f := newFixture(t, web.Config{Tracer: tracer, Routes: []web.Route{
				route("/things/{id}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") }),
				route("/panic", func(http.ResponseWriter, *http.Request) { panic("fault") }),
			}})
			r := httptest.NewRequest(c.method, c.path, nil)
			r.Header["Traceparent"] = c.traceparent
			r.Header["Tracestate"] = []string{"a=1", "b=2"}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			tracer.Close() // sends what is queued
			spans := collector.Spans()
			if c.want == nil || len(spans) != 1 {
				if len(spans) != 0 || c.want != nil {
					t.Errorf("spans %v", spans)
				}
				return
			}
			s, got := spans[0], map[string]string{}
			for _, a := range s.Attributes {
				got[a.Key] = a.Value.GetStringValue()
				if a.Key == "http.response.status_code" && a.Value.GetIntValue() != c.status {
					t.Errorf("status %d", a.Value.GetIntValue())
				}
			}
			want := map[string]string{"url.scheme": "https", "agentidp.request.id": w.Header().Get("X-Request-Id"), "http.response.status_code": ""}
			for key, value := range c.want {
				want[key] = value
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if s.Name != c.name || hex.EncodeToString(s.TraceId) != c.trace || hex.EncodeToString(s.ParentSpanId) != someSpan || s.TraceState != "a=1,b=2" ||
				s.Kind != tracev1.Span_SPAN_KIND_SERVER || (s.Status.GetCode() == tracev1.Status_STATUS_CODE_ERROR) != (c.status >= 500) {
				t.Errorf("span %v", s.Span)
			}
			if strings.Contains(strings.ToLower(s.String()), "secret-in") {
				t.Errorf("what a stranger typed is in %v", s)
			}
		})
	}
}
