package extauthz

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/testkit"
)

// Each line names the span in which it was decided, as OPA's do (EventV1 trace_id, span_id): ours where the check is recorded, else that of
// whoever asked.
func TestDecisionLogNamesTheTrace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ctx     context.Context
		headers []string
		traces  bool
		trace   string
		span    string // "" for our own
	}{
		"recorded":               {envoys(traceparent(envoysTrace, envoysSpan, "01")), nil, true, envoysTrace, ""},
		"not recorded":           {envoys(traceparent(envoysTrace, envoysSpan, "00")), nil, true, envoysTrace, envoysSpan},
		"tracing is off":         {envoys(traceparent(envoysTrace, envoysSpan, "01")), []string{"traceparent", traceparent(clientsTrace, clientsSpan, "01")}, false, envoysTrace, envoysSpan},
		"the client's":           {context.Background(), []string{"traceparent", traceparent(clientsTrace, clientsSpan, "01")}, false, clientsTrace, clientsSpan},
		"the client's, by B3":    {context.Background(), []string{"x-b3-traceid", clientsTrace, "x-b3-spanid", clientsSpan}, false, clientsTrace, clientsSpan},
		"nobody says anything":   {context.Background(), nil, false, "", ""},
		"something that is none": {context.Background(), []string{"traceparent", "00-x", "b3", "0"}, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1})
			collector := testkit.Collect(t)
			var tracer *obs.Tracer
			if c.traces {
				tracer = tracerTo(t, collector, nil)
			}
			e := newEdge(t, ordersPolicy, func(o *Options) { o.DecisionLog, o.Tracer = log, tracer })
			if _, err := e.called(c.ctx, request("GET", "/orders", append([]string{"authorization", "Bearer " + e.signer(t)(nil)}, c.headers...)...)); err != nil {
				t.Fatal(err)
			}
			tracer.Close()
			if err := log.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			span := c.span
			if spans := collector.Spans(); c.traces && span == "" {
				if len(spans) != 3 {
					t.Fatalf("spans %v", spans)
				}
				span = hex.EncodeToString(spans[2].SpanId)
			}
			var line map[string]any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			if c.trace == "" {
				if line["trace_id"] != nil || line["span_id"] != nil {
					t.Errorf("names a trace: %s", out.String())
				}
			} else if line["trace_id"] != c.trace || line["span_id"] != span {
				t.Errorf("trace_id %v, span_id %v, want %s, %s", line["trace_id"], line["span_id"], c.trace, span)
			}
			if host := line["input"].(map[string]any)["parsed_host"]; host == nil {
				t.Errorf("no parsed_host: %s", out.String())
			}
		})
	}
}
