package obs

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The examples of the specification, and what is none.
func TestParseB3(t *testing.T) {
	t.Parallel()
	const trace, span = "80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1"
	const w3c = "00-" + trace + "-" + span + "-"
	for name, c := range map[string]struct {
		headers  B3
		want     string // as traceparent; "" for none
		deferred bool
	}{
		"single":                  {B3{Single: trace + "-" + span + "-1-05e3ac9a4f6e3b90"}, w3c + "01", false},
		"single, no":              {B3{Single: trace + "-" + span + "-0"}, w3c + "00", false},
		"single, debug":           {B3{Single: trace + "-" + span + "-d"}, w3c + "01", false},
		"single, deferred":        {B3{Single: trace + "-" + span}, w3c + "00", true},
		"single, short":           {B3{Single: "64fe8b2a57d3eff7-" + span + "-1"}, "00-000000000000000064fe8b2a57d3eff7-" + span + "-01", false},
		"single before many":      {B3{Single: trace + "-" + span + "-1", TraceID: "1", SpanID: "2"}, w3c + "01", false},
		"many":                    {B3{TraceID: trace, SpanID: span, Sampled: "1"}, w3c + "01", false},
		"many, no":                {B3{TraceID: trace, SpanID: span, Sampled: "0"}, w3c + "00", false},
		"many, as it once was":    {B3{TraceID: trace, SpanID: span, Sampled: "true"}, w3c + "01", false},
		"many, debug":             {B3{TraceID: trace, SpanID: span, Flags: "1"}, w3c + "01", false},
		"many, deferred":          {B3{TraceID: trace, SpanID: span}, w3c + "00", true},
		"nothing":                 {B3{}, "", false},
		"a decision alone":        {B3{Single: "0"}, "", false},
		"no span":                 {B3{TraceID: trace, Sampled: "1"}, "", false},
		"upper case":              {B3{Single: "80F198EE56343BA864FE8B2A57D3EFF7-" + span + "-1"}, "", false},
		"zeros":                   {B3{TraceID: "0000000000000000", SpanID: span, Sampled: "1"}, "", false},
		"a length in between":     {B3{TraceID: trace[:24], SpanID: span, Sampled: "1"}, "", false},
		"a fifth field":           {B3{Single: trace + "-" + span + "-1-05e3ac9a4f6e3b90-1"}, "", false},
		"ends with a dash":        {B3{Single: trace + "-" + span + "-1-"}, "", false},
		"a parent that is none":   {B3{Single: trace + "-" + span + "-1-x"}, "", false},
		"a decision that is none": {B3{Single: trace + "-" + span + "-2"}, "", false},
	} {
		got := c.headers.Context()
		text := ""
		if got.IsValid() {
			text = got.String()
		}
		if text != c.want || got.Deferred != c.deferred {
			t.Errorf("%s: %q, deferred %v", name, text, got.Deferred)
		}
	}
}

// Who is asked to decide whether a trace is recorded decides by the ratio, also where the parent's word would count.
func TestDeferredSampling(t *testing.T) {
	t.Parallel()
	for ratio, want := range map[float64]bool{0: false, 1: true} {
		cfg := &Tracing{Endpoint: "http://127.0.0.1:1"}
		cfg.SetDefaults()
		cfg.Ratio = ratio
		tracer, err := NewTracer(cfg, TracerEnv{Service: "t", Prefix: "t", Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		parent := TraceContext{TraceID: [16]byte{1}, SpanID: [8]byte{2}, Deferred: true}
		span := tracer.Begin(&parent, "x", time.Now())
		if (span != nil) != want {
			t.Errorf("ratio %v: recorded %v", ratio, span != nil)
		}
		if got := span.Context(); span != nil && (got.TraceID != parent.TraceID || got.SpanID == parent.SpanID || !got.IsValid()) {
			t.Errorf("%+v", got)
		}
		tracer.Close()
	}
}
