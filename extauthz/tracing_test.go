package extauthz

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/testkit"
)

const (
	envoysTrace  = "0af7651916cd43dd8448eb211c80319c"
	envoysSpan   = "b7ad6b7169203331"
	clientsTrace = "11111111111111111111111111111111"
	clientsSpan  = "2222222222222222"
)

func traceparent(trace, span, flags string) string {
	return "00-" + trace + "-" + span + "-" + flags
}

// envoys is the context of a check as Envoy's tracer makes it.
func envoys(traceparents ...string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.MD{"traceparent": traceparents, "tracestate": {""}})
}

func tracerTo(t *testing.T, c *testkit.Collector, change func(*obs.Tracing)) *obs.Tracer {
	t.Helper()
	cfg := &obs.Tracing{Endpoint: c.URL}
	cfg.SetDefaults()
	if change != nil {
		change(cfg)
	}
	tracer, err := obs.NewTracer(cfg, obs.TracerEnv{
		Service: "extauthz", Prefix: "agentidp_extauthz", Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracer.Close)
	return tracer
}

// shown is what a test wants to see of a span.
type shown struct {
	Name, Trace, Parent string
	Attributes          map[string]string
}

func show(s testkit.CollectedSpan) shown {
	out := shown{Name: s.Name, Trace: hex.EncodeToString(s.TraceId), Parent: hex.EncodeToString(s.ParentSpanId), Attributes: map[string]string{}}
	for _, a := range s.Attributes {
		out.Attributes[a.Key] = a.Value.GetStringValue()
		if n := a.Value.GetIntValue(); n != 0 {
			out.Attributes[a.Key] = strconv.FormatInt(n, 10)
		}
	}
	return out
}

// called asks as Envoy does, with the metadata of the context.
func (e *edge) called(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	wire, err := proto.Marshal(in)
	if err != nil {
		return nil, err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	call := &unary.Call{Message: wire, TraceParent: strings.Join(md[traceparentHeader], ""), TraceState: strings.Join(md[tracestateHeader], ",")}
	if ctx.Err() != nil {
		call.Deadline = time.Unix(1, 0)
	}
	answer, _, later := e.serveCheck(call)
	if later != nil {
		answer, _ = later(ctx)
	}
	return decoded(answer)
}

func TestSpansOfChecks(t *testing.T) {
	t.Parallel()
	const check = "envoy.service.auth.v3.Authorization/Check"
	late, cancel := context.WithCancel(envoys(traceparent(envoysTrace, envoysSpan, "01")))
	cancel()
	sampled := envoys(traceparent(envoysTrace, envoysSpan, "01"))
	for name, c := range map[string]struct {
		ctx     context.Context
		headers []string
		change  func(*Server)
		stages  []string
		want    map[string]string // attributes; nil for no span
		trace   string
		parent  string
	}{
		"allowed": {
			sampled, nil, nil,
			[]string{"identity", "decide"},
			map[string]string{"result": "allowed", "reason": "allowed", "organization": "org_a"},
			envoysTrace, envoysSpan,
		},
		"Envoy's before the client's": {
			sampled,
			[]string{"traceparent", traceparent(clientsTrace, clientsSpan, "00")},
			nil,
			[]string{"identity", "decide"},
			map[string]string{"result": "allowed", "reason": "allowed", "organization": "org_a"},
			envoysTrace, envoysSpan,
		},
		"Envoy says no, the client yes": {
			envoys(traceparent(envoysTrace, envoysSpan, "00")), []string{"traceparent", traceparent(clientsTrace, clientsSpan, "01")}, nil, nil, nil, "", "",
		},
		"Envoy says nothing, the client yes": {
			context.Background(),
			[]string{"traceparent", traceparent(clientsTrace, clientsSpan, "01")},
			nil,
			[]string{"identity", "decide"},
			map[string]string{"result": "allowed", "reason": "allowed", "organization": "org_a"},
			clientsTrace, clientsSpan,
		},
		"Envoy says nothing, the client no": {
			context.Background(), []string{"traceparent", traceparent(clientsTrace, clientsSpan, "00")}, nil, nil, nil, "", "",
		},
		"nobody says anything": {context.Background(), nil, nil, nil, nil, "", ""}, // ratio: 0
		"two of Envoy's": {
			envoys(traceparent(envoysTrace, envoysSpan, "01"), traceparent(clientsTrace, clientsSpan, "01")), nil, nil, nil, nil, "", "",
		},
		"Envoy says nothing, the client yes, by b3": {
			context.Background(),
			[]string{"b3", clientsTrace + "-" + clientsSpan + "-1"},
			nil,
			[]string{"identity", "decide"},
			map[string]string{"result": "allowed", "reason": "allowed", "organization": "org_a"},
			clientsTrace, clientsSpan,
		},
		"Envoy says nothing, the client yes, by B3's many headers": {
			context.Background(),
			[]string{"x-b3-traceid", clientsTrace, "x-b3-spanid", clientsSpan, "x-b3-sampled", "1"},
			nil,
			[]string{"identity", "decide"},
			map[string]string{"result": "allowed", "reason": "allowed", "organization": "org_a"},
			clientsTrace, clientsSpan,
		},
		"the client says two things": { // traceparent counts
			context.Background(), []string{"b3", envoysTrace + "-" + envoysSpan + "-1", "traceparent", traceparent(clientsTrace, clientsSpan, "00")}, nil, nil, nil, "", "",
		},
		"the client leaves it to us, by b3": { // ratio: 0
			context.Background(), []string{"b3", clientsTrace + "-" + clientsSpan}, nil, nil, nil, "", "",
		},
		"two of the client's": {
			context.Background(), []string{"traceparent", traceparent(clientsTrace, clientsSpan, "01"), "traceparent", traceparent(envoysTrace, envoysSpan, "01")}, nil, nil, nil, "", "",
		},
		"a token that is not good": {
			sampled,
			[]string{"authorization", "Bearer a.b.c"},
			nil,
			[]string{"identity"},
			map[string]string{"result": "denied", "reason": "token_malformed", "http_status": "401"},
			envoysTrace, envoysSpan,
		},
		"cannot be read": {
			sampled, nil, func(s *Server) {
				s.stages.parse = func([]byte) (*checkreq.Request, *checkreq.Refusal) {
					return nil, &checkreq.Refusal{Reason: "request_empty"}
				}
			},
			nil,
			map[string]string{"result": "denied", "reason": "request_empty", "http_status": "400"},
			envoysTrace, envoysSpan,
		},
		"too late": {
			late, nil, nil,
			nil,
			map[string]string{"result": "undecided", "reason": "deadline", "http_status": "503", "error": "deadline"},
			envoysTrace, envoysSpan,
		},
		"a fault of the policy": {
			sampled, nil, func(s *Server) {
				s.stages.decide = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
					return nil, nil, &decide.Fault{Reason: decide.ReasonTimeout, Err: errors.New("slow")}
				}
			},
			[]string{"identity", "decide"},
			map[string]string{
				"result": "undecided", "reason": string(decide.ReasonTimeout), "http_status": "503", "error": string(decide.ReasonTimeout), "organization": "org_a",
			},
			envoysTrace, envoysSpan,
		},
		"a panic": {
			sampled, nil, func(s *Server) {
				s.stages.decide = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
					panic("fault")
				}
			},
			[]string{"identity", "decide"},
			map[string]string{"result": "undecided", "reason": "panic", "http_status": "503", "error": "panic", "organization": "org_a"},
			envoysTrace, envoysSpan,
		},
		"a panic before anything is known": {
			sampled, nil, func(s *Server) {
				s.stages.parse = func([]byte) (*checkreq.Request, *checkreq.Refusal) { panic("fault") }
			},
			nil,
			map[string]string{"result": "undecided", "reason": "panic", "http_status": "503", "error": "panic"},
			envoysTrace, envoysSpan,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := testkit.Collect(t)
			tracer := tracerTo(t, collector, func(c *obs.Tracing) { c.Ratio = 0 })
			e := newEdge(t, ordersPolicy, func(o *Options) { o.Tracer = tracer })
			token := e.signer(t)(nil)
			if c.change != nil {
				c.change(e.Server)
			}
			headers := c.headers
			if len(headers) == 0 || headers[0] != "authorization" {
				headers = append([]string{"authorization", "Bearer " + token}, headers...)
			}
			m, err := e.called(c.ctx, request("GET", "/orders/secret-order", headers...))
			if err != nil {
				t.Fatal(err)
			}
			tracer.Close() // sends what is queued
			spans := collector.Spans()
			if c.want == nil {
				if len(spans) != 0 {
					t.Errorf("spans of what is not recorded: %v", spans)
				}
				return
			}
			if len(spans) != len(c.stages)+1 {
				t.Fatalf("spans %v", spans)
			}
			whole := show(spans[len(c.stages)])
			want := map[string]string{
				"rpc.system.name": "grpc", "rpc.method": check, "rpc.response.status_code": "OK", "agentidp.decision.id": read(t, m).id,
				"agentidp.decision.result": c.want["result"], "agentidp.decision.reason": c.want["reason"],
				"agentidp.policy.revision": e.store.Load().Policy.Revision(), "agentidp.snapshot.epoch": fmt.Sprint(e.store.Load().Epoch),
			}
			for short, long := range map[string]string{"http_status": "agentidp.decision.http_status", "organization": "agentidp.organization.id", "error": "error.type"} {
				if v, ok := c.want[short]; ok {
					want[long] = v
				}
			}
			if d := cmp.Diff(shown{check, c.trace, c.parent, want}, whole); d != "" {
				t.Error(d)
			}
			for i, stage := range c.stages {
				if d := cmp.Diff(shown{stage, c.trace, hex.EncodeToString(spans[len(c.stages)].SpanId), map[string]string{}}, show(spans[i])); d != "" {
					t.Error(d)
				}
			}
			for _, s := range spans {
				if text := s.String(); strings.Contains(text, strings.Split(token, ".")[2]) || strings.Contains(text, "secret-order") {
					t.Errorf("token or path in %s", text)
				}
			}
		})
	}
}

func TestSpanOfADryRun(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	tracer := tracerTo(t, collector, nil)
	e := newEdge(t, ordersPolicy, func(o *Options) { o.Tracer, o.DryRun = tracer, true })
	e.ask(t, request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(map[string]any{"scope": "other"})))
	tracer.Close()
	spans := collector.Spans()
	if len(spans) != 3 || len(spans[2].ParentSpanId) != 0 {
		t.Fatalf("spans %v", spans)
	}
	for _, a := range spans[2].Attributes {
		if a.Key == "agentidp.decision.dry_run_passed" && a.Value.GetBoolValue() {
			return
		}
	}
	t.Errorf("%v does not say that it passed by a dry run", spans[2])
}

// A span that cannot be ended is lost; the answer is made.
func TestPanicWhileTracing(t *testing.T) {
	t.Parallel()
	cfg := &obs.Tracing{Endpoint: testkit.Collect(t).URL}
	cfg.SetDefaults()
	asked := 0
	tracer, err := obs.NewTracer(cfg, obs.TracerEnv{
		Service: "extauthz", Prefix: "agentidp_extauthz", Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time {
			if asked++; asked == 3 { // identity and decide have begun
				panic("fault")
			}
			return time.Now()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracer.Close)
	e := newEdge(t, ordersPolicy, func(o *Options) { o.Tracer = tracer })
	got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(nil)))
	if n := testutil.ToFloat64(e.metrics.panics); got.status != 200 || asked != 3 || n != 1 {
		t.Errorf("status %d, clock asked %d times, %v panics counted", got.status, asked, n)
	}
}

// A check that is not traced costs what it costs without tracing.
func TestNotTracedAllocations(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	measure := func(ctx context.Context, tracer *obs.Tracer) float64 {
		e := newEdge(t, ordersPolicy, func(o *Options) { withDecisionCache(o); o.Tracer = tracer })
		check := usual(t, e.signer(t)(nil)) // its traceparent is none
		e.warm(t, check)
		return testing.AllocsPerRun(200, func() {
			if !e.Server.Check(ctx, check).Allowed() {
				t.Fatal("denied")
			}
		})
	}
	tracer := tracerTo(t, testkit.Collect(t), func(c *obs.Tracing) { c.Ratio = 0 })
	unsampled := envoys(traceparent(envoysTrace, envoysSpan, "00"))
	off := measure(unsampled, nil)
	for name, ctx := range map[string]context.Context{"not sampled": unsampled, "no parent": context.Background()} {
		if on := measure(ctx, tracer); on > off {
			t.Errorf("%s: %v allocations, %v without tracing", name, on, off)
		}
	}
	t.Logf("%v allocations", off)
}

func BenchmarkTracedCheck(b *testing.B) {
	c := testkit.Collect(b)
	cfg := &obs.Tracing{Endpoint: c.URL}
	cfg.SetDefaults()
	tracer, err := obs.NewTracer(cfg, obs.TracerEnv{Service: "extauthz", Prefix: "agentidp_extauthz", Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer tracer.Close()
	for _, run := range []struct {
		name   string
		tracer *obs.Tracer
		flags  string
	}{{"off", nil, "01"}, {"not sampled", tracer, "00"}, {"sampled", tracer, "01"}} {
		b.Run(run.name, func(b *testing.B) {
			e := newEdge(b, ordersPolicy, func(o *Options) { withDecisionCache(o); o.Tracer = run.tracer })
			check := usual(b, e.signer(b)(nil))
			e.warm(b, check)
			ctx := envoys(traceparent(envoysTrace, envoysSpan, run.flags))
			b.ReportAllocs()
			for b.Loop() {
				e.Server.Check(ctx, check)
			}
		})
	}
}
