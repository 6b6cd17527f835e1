package extauthz_test

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
	"github.com/agentidp/agentidp/manifests/envoy"
)

const (
	egressSpan = "async envoy.service.auth.v3.Authorization.Check egress" // Envoy's, of the call to us
	checkSpan  = "envoy.service.auth.v3.Authorization/Check"              // ours
	traceEvery = 100
	traceNone  = 0
)

// documented is the part of docs/extauthz.md that tells Envoy to trace: what stands between two lines of it, indented.
func documented(t *testing.T, from, to, indent string) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/extauthz.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(doc), from+"\n")
	part, _, ended := strings.Cut(after, to)
	if !found || !ended {
		t.Fatalf("docs/extauthz.md has no part from %q to %q", from, to)
	}
	return indent + strings.ReplaceAll(strings.TrimSpace(part), "\n", "\n"+indent) + "\n"
}

// startTracingEnvoy puts an Envoy in front that traces as docs/extauthz.md says, to the same collector.
func (e *edge) startTracingEnvoy(t *testing.T, c *testkit.Collector, percent int) {
	t.Helper()
	doc, err := envoy.Render(envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: e.socket, Upstream: e.service.Address})
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatal(err)
	}
	text := string(doc)
	for _, change := range [][2]string{
		{"timeout: 0.25s # ", "timeout: 5s # "}, // a busy test machine
		{"                stat_prefix: ingress\n", "                stat_prefix: ingress\n" + documented(t, "# in the http_connection_manager", "# among the clusters", strings.Repeat(" ", 16))},
		{"\n  clusters:\n", "\n  clusters:\n" + documented(t, "# among the clusters", "```", "    ")},
		{"random_sampling: { value: 1 }", fmt.Sprintf("random_sampling: { value: %d }", percent)},
		{"port_value: 4318", "port_value: " + port},
		{"cluster: collector, timeout: 1s", "cluster: collector, timeout: 5s"},
		{"    - { name: admin, admin_layer: {} }\n", "    - { name: admin, admin_layer: {} }\n    - { name: now, static_layer: { tracing.opentelemetry.min_flush_spans: 1 } }\n"},
	} {
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("%q is not where this test looks for it", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	e.address = testkit.Envoy(t, []byte(text)).Listener(t, "ingress")
}

func clientsTraceparent(trace byte, flags string) (id, header string) {
	id = strings.Repeat(string(trace), 32)
	return id, "traceparent: 00-" + id + "-1234567890abcdef-" + flags
}

// spansOf are the spans of a trace by their names.
func spansOf(c *testkit.Collector, trace string) map[string]testkit.CollectedSpan {
	spans := map[string]testkit.CollectedSpan{}
	for _, s := range c.Spans() {
		if hex.EncodeToString(s.TraceId) == trace {
			spans[s.Name] = s
		}
	}
	return spans
}

func isChild(child, parent testkit.CollectedSpan) bool {
	return len(child.SpanId) == 8 && string(child.ParentSpanId) == string(parent.SpanId) && string(child.TraceId) == string(parent.TraceId)
}

func TestTraceJoinsEnvoys(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	e := newEdge(t, "tracing: {endpoint: \"http://"+collector.Address+"\"}\n")
	e.startHere(t)
	e.startTracingEnvoy(t, collector, traceEvery)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))

	unsampled, header := clientsTraceparent('a', "00")
	if a := e.get(t, "/orders/1", e.bearer(t), header); a.Status != http.StatusOK {
		t.Fatalf("status %d", a.Status)
	}
	sampled, header := clientsTraceparent('b', "01")
	if a := e.get(t, "/orders/1", e.bearer(t), header, "tracestate: vendor=1"); a.Status != http.StatusOK {
		t.Fatalf("status %d", a.Status)
	}
	awaitThat(t, "five spans of one trace", func() bool { return len(spansOf(collector, sampled)) == 5 })
	spans := spansOf(collector, sampled)
	ingress, egress, check := spans["ingress"], spans[egressSpan], spans[checkSpan]
	if ingress.Span == nil || hex.EncodeToString(ingress.ParentSpanId) != "1234567890abcdef" || !isChild(egress, ingress) || !isChild(check, egress) ||
		!isChild(spans["identity"], check) || !isChild(spans["decide"], check) {
		t.Errorf("not a line from Envoy to us: %v", spans)
	}
	if check.Resource["service.name"] != "extauthz" || egress.Resource["service.name"] != "edge" || egress.Kind != tracev1.Span_SPAN_KIND_CLIENT ||
		check.Kind != tracev1.Span_SPAN_KIND_SERVER || check.TraceState != "vendor=1" || check.Attribute("agentidp.decision.result") != "allowed" ||
		check.Attribute("agentidp.organization.id") != "org_a" {
		t.Errorf("our span is %v of %v", check, check.Resource)
	}
	if spans := spansOf(collector, unsampled); len(spans) != 0 { // both exporters send in order
		t.Errorf("spans of a trace that is not sampled: %v", spans)
	}
}

func TestTraceOfADenialThatEnvoyBegan(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	e := newEdge(t, "tracing: {endpoint: \"http://"+collector.Address+"\", ratio: 0}\n")
	e.startHere(t)
	e.startTracingEnvoy(t, collector, traceEvery)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	a := e.get(t, "/orders/1")
	id, _ := problem(t, a)["decisionId"].(string)
	if a.Status != http.StatusUnauthorized || id == "" {
		t.Fatalf("status %d, decision %q", a.Status, id)
	}
	var spans map[string]testkit.CollectedSpan
	awaitThat(t, "the spans of the decision and Envoy's", func() bool {
		for _, s := range collector.Spans() {
			if s.Attribute("agentidp.decision.id") == id {
				spans = spansOf(collector, hex.EncodeToString(s.TraceId))
			}
		}
		return len(spans) == 4 // without decide
	})
	check := spans[checkSpan]
	if !isChild(check, spans[egressSpan]) || check.Attribute("agentidp.decision.result") != "denied" || check.Attribute("agentidp.decision.reason") != "credential_missing" ||
		check.Status != nil {
		t.Errorf("our span is %v", check)
	}
}

// Envoy does not sample; that the client says it does changes nothing. What is not recorded is known for sure once everything is sent.
func TestTraceEnvoyDoesNotSample(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	e := newEdge(t, "tracing: {endpoint: \"http://"+collector.Address+"\"}\n")
	stop := e.run(t, nil)
	e.startTracingEnvoy(t, collector, traceNone)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	_, header := clientsTraceparent('c', "01")
	for _, headers := range [][]string{{e.bearer(t)}, {e.bearer(t), header}, {header}} {
		e.get(t, "/orders/1", headers...)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if spans := collector.Spans(); len(spans) != 0 {
		t.Errorf("recorded %v", spans)
	}
}

func TestTraceWithoutEnvoys(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	e := newEdge(t, "tracing: {endpoint: \"http://"+collector.Address+"\", ratio: 0}\n")
	stop := e.run(t, nil)
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	_, unsampled := clientsTraceparent('d', "00")
	trace, sampled := clientsTraceparent('e', "01")
	for _, header := range []string{unsampled, sampled} {
		if a := e.get(t, "/orders/1", e.bearer(t), header); a.Status != http.StatusOK {
			t.Fatalf("status %d", a.Status)
		}
	}
	if err := stop(); err != nil { // which sends what is queued
		t.Fatal(err)
	}
	spans := spansOf(collector, trace)
	check := spans[checkSpan]
	if len(collector.Spans()) != 3 || len(spans) != 3 || hex.EncodeToString(check.ParentSpanId) != "1234567890abcdef" || !isChild(spans["decide"], check) {
		t.Errorf("recorded %v", collector.Spans())
	}
}

func TestTraceCollectorIsDown(t *testing.T) {
	t.Parallel()
	collector := rawhttp.Serve(t)
	collector.SetDown(true)
	e := newEdge(t, "tracing: {endpoint: \"http://"+collector.Address+"\"}\nmetrics: {listen: 127.0.0.1:0}\n")
	metrics := make(chan string, 1)
	stop := e.run(t, func(name string, addr net.Addr) {
		if name == "metrics" {
			metrics <- "http://" + addr.String() + "/metrics"
		}
	})
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	_, header := clientsTraceparent('f', "01")
	for range 20 {
		if a := e.get(t, "/orders/1", e.bearer(t), header); a.Status != http.StatusOK {
			t.Errorf("status %d", a.Status)
		}
	}
	url := <-metrics
	awaitThat(t, "lost spans are counted", func() bool {
		_, text := httpGet(t, url)
		return strings.Contains(text, `agentidp_extauthz_trace_spans_dropped_total{cause="failed"}`) &&
			!strings.Contains(text, `agentidp_extauthz_trace_spans_dropped_total{cause="failed"} 0`)
	})
	if a := e.get(t, "/orders/1", e.bearer(t), header); a.Status != http.StatusOK {
		t.Errorf("status %d", a.Status)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(e.log.String(), "the collector does not take spans"); n != 1 {
		t.Errorf("said %d times that the collector is down", n)
	}
}
