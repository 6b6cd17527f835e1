package obs

import (
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/testkit"
)

// tracing exports to a collector, as the configuration file says by default.
func tracing(c *testkit.Collector) *Tracing {
	cfg := &Tracing{Endpoint: c.URL}
	cfg.SetDefaults()
	return cfg
}

func newTracer(t *testing.T, cfg *Tracing) (*Tracer, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	tracer, err := NewTracer(cfg, TracerEnv{
		Service: "tested", Prefix: "agentidp_tested", Registerer: registry, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracer.Close)
	return tracer, registry
}

func parent(flags string) *TraceContext {
	c := ParseTraceContext("00-"+someTrace+"-"+someSpan+"-"+flags, "vendor=1")
	return &c
}

func TestSpansReachTheCollector(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	cfg := tracing(collector)
	cfg.Endpoint = strings.TrimSuffix(cfg.Endpoint, "/v1/traces") // which is then added
	cfg.Headers = map[string]config.Secret{"x-api-key": config.NewSecret("k")}
	cfg.Resource = map[string]string{"deployment.environment.name": "test", "service.name": "named by the operator"}
	tracer, registry := newTracer(t, cfg)
	began := time.Now()
	s := tracer.Begin(parent("01"), "Check", began)
	s.Enter("first")
	s.Enter("second")
	s.SetString("agentidp.text", "a\xffb"+strings.Repeat("c", 300))
	s.SetString("agentidp.nothing", "")
	s.SetInt("agentidp.number", 7)
	s.SetBool("agentidp.yes", true)
	s.Fail("broken")
	s.Rename("Checked")
	s.End()
	tracer.Close() // sends what is queued

	spans := collector.Spans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	first, second, whole := spans[0], spans[1], spans[2]
	if hex.EncodeToString(whole.TraceId) != someTrace || hex.EncodeToString(whole.ParentSpanId) != someSpan || whole.TraceState != "vendor=1" ||
		whole.Name != "Checked" || whole.Kind != tracev1.Span_SPAN_KIND_SERVER || whole.Flags != 0x301 || whole.Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR {
		t.Errorf("the span is %v", whole)
	}
	for _, stage := range []testkit.CollectedSpan{first, second} {
		if string(stage.TraceId) != string(whole.TraceId) || string(stage.ParentSpanId) != string(whole.SpanId) || len(stage.SpanId) != 8 || stage.Flags != 1 {
			t.Errorf("the stage is %v", stage)
		}
	}
	if first.Name != "first" || second.Name != "second" || first.EndTimeUnixNano != second.StartTimeUnixNano || second.EndTimeUnixNano != whole.EndTimeUnixNano ||
		whole.StartTimeUnixNano != uint64(began.UnixNano()) || whole.StartTimeUnixNano > first.StartTimeUnixNano || first.StartTimeUnixNano > first.EndTimeUnixNano {
		t.Errorf("stages from %v to %v and %v to %v of %v to %v", first.StartTimeUnixNano, first.EndTimeUnixNano, second.StartTimeUnixNano, second.EndTimeUnixNano,
			whole.StartTimeUnixNano, whole.EndTimeUnixNano)
	}
	if text := whole.Attribute("agentidp.text"); len(text) != 255 || !strings.HasPrefix(text, "abc") {
		t.Errorf("text is %q", text)
	}
	if len(whole.Attributes) != 4 || whole.Attributes[1].Value.GetIntValue() != 7 || !whole.Attributes[2].Value.GetBoolValue() || whole.Attribute("error.type") != "broken" {
		t.Errorf("attributes are %v", whole.Attributes)
	}
	delete(whole.Resource, "service.instance.id")
	want := map[string]string{
		"service.name": "named by the operator", "service.version": Build().Version, "deployment.environment.name": "test",
		"telemetry.sdk.name": "agentidp", "telemetry.sdk.language": "go", "telemetry.sdk.version": Build().Version,
	}
	if d := cmp.Diff(want, whole.Resource); d != "" {
		t.Error(d)
	}
	if h := collector.Header(); h.Get("X-Api-Key") != "k" {
		t.Errorf("sent with %v", h)
	}
	exported := "# HELP agentidp_tested_trace_spans_exported_total Spans the collector took.\n# TYPE agentidp_tested_trace_spans_exported_total counter\nagentidp_tested_trace_spans_exported_total 3\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(exported), "agentidp_tested_trace_spans_exported_total"); err != nil {
		t.Error(err)
	}
}

func TestWhoDecidesWhatIsRecorded(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	none := &TraceContext{}
	for name, c := range map[string]struct {
		sampler Sampler
		ratio   float64
		parent  *TraceContext
		want    bool
	}{
		"parent says yes":              {SamplerParent, 0, parent("01"), true},
		"parent says no":               {SamplerParent, 1, parent("00"), false},
		"no parent, all":               {SamplerParent, 1, none, true},
		"no parent, none":              {SamplerParent, 0, none, false},
		"parent says no, ratio all":    {SamplerRatio, 1, parent("00"), true},
		"parent says yes, ratio none":  {SamplerRatio, 0, parent("01"), false},
		"by id, just not":              {SamplerRatio, 0.5166, parent("01"), false}, // 0x8448eb211c80319c / 2^64 is 0.51674
		"by id, just so":               {SamplerRatio, 0.5168, parent("00"), true},
		"no parent, ratio, all":        {SamplerRatio, 1, none, true},
		"no parent, ratio, none of it": {SamplerRatio, 0, none, false},
	} {
		cfg := tracing(collector)
		cfg.Sampler, cfg.Ratio = c.sampler, c.ratio
		tracer, _ := newTracer(t, cfg)
		s := tracer.Begin(c.parent, "Check", time.Now())
		if (s != nil) != c.want {
			t.Errorf("%s: recorded %v", name, s != nil)
		}
		if s == nil {
			continue
		}
		if known := c.parent.IsValid(); (s.whole.ParentSpanId != nil) != known || len(s.whole.TraceId) != 16 || known && hex.EncodeToString(s.whole.TraceId) != someTrace {
			t.Errorf("%s: %v", name, s.whole)
		}
	}
}

// About a tenth of the traces that begin here, whatever the random numbers: the test would fail once in 10^15 runs.
func TestRatioOfNewTraces(t *testing.T) {
	t.Parallel()
	cfg := tracing(testkit.Collect(t))
	cfg.Ratio = 0.1
	tracer, _ := newTracer(t, cfg)
	n := 0
	for range 10_000 {
		if tracer.Begin(&TraceContext{}, "Check", time.Now()) != nil {
			n++
		}
	}
	if n < 760 || n > 1240 {
		t.Errorf("%d of 10,000", n)
	}
}

func TestNothingIsRecordedAtNoCost(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	cfg := tracing(testkit.Collect(t))
	cfg.Ratio = 0
	unsampled, _ := newTracer(t, cfg)
	traceparent := "00-" + someTrace + "-" + someSpan + "-00"
	for name, tracer := range map[string]*Tracer{"off": nil, "not sampled": unsampled} {
		if n := testing.AllocsPerRun(100, func() {
			for _, header := range []string{traceparent, ""} {
				c := ParseTraceContext(header, "")
				s := tracer.Begin(&c, "Check", time.Time{})
				s.Enter("stage")
				s.SetString("key", "value")
				s.SetInt("key", 1)
				s.SetBool("key", true)
				s.Rename("name")
				s.Fail("reason")
				s.End()
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	var off *Tracer
	off.Close()
	if tracer, err := NewTracer(nil, TracerEnv{}); tracer != nil || err != nil {
		t.Errorf("without a section: %v, %v", tracer, err)
	}
}

func TestTheCollectorAsksForItsHeaders(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	collector.Answer(http.StatusUnauthorized)
	tracer, registry := newTracer(t, tracing(collector))
	tracer.Begin(parent("01"), "Check", time.Now()).End()
	tracer.Close()
	tracer.Begin(parent("01"), "Check", time.Now()).End()
	want := `# HELP agentidp_tested_trace_spans_dropped_total Spans that were lost, by cause: full, closed, rejected, failed, shutdown.
# TYPE agentidp_tested_trace_spans_dropped_total counter
agentidp_tested_trace_spans_dropped_total{cause="closed"} 1
agentidp_tested_trace_spans_dropped_total{cause="failed"} 0
agentidp_tested_trace_spans_dropped_total{cause="full"} 0
agentidp_tested_trace_spans_dropped_total{cause="rejected"} 1
agentidp_tested_trace_spans_dropped_total{cause="shutdown"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_tested_trace_spans_dropped_total"); err != nil {
		t.Error(err)
	}
}
