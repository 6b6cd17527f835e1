package extauthz

import (
	"fmt"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/internal/obs"
)

// Stages of a traced check; each is a span of its own.
const (
	stageIdentity = "identity"
	stageDecide   = "decide"
)

// The headers of W3C Trace Context, and of B3.
const (
	traceparentHeader = "traceparent"
	tracestateHeader  = "tracestate"
	b3Header          = "b3"
	b3TraceHeader     = "x-b3-traceid"
	b3SpanHeader      = "x-b3-spanid"
	b3SampledHeader   = "x-b3-sampled"
	b3FlagsHeader     = "x-b3-flags"
)

func openTracer(cfg *obs.Tracing, env *feed.Env, r prometheus.Registerer) (*obs.Tracer, error) {
	tracer, err := obs.NewTracer(cfg, obs.TracerEnv{Service: "extauthz", Prefix: "agentidp_extauthz", Registerer: r, Log: env.Log, Now: env.Now})
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return tracer, nil
}

// trace begins the span of a call, if its trace is recorded. Envoy says so in the metadata of the call, which names its own span; the header
// of the request names the client's, and is asked only when Envoy traces nothing (docs/adr/0022). There is no request when it cannot be read.
func (s *Server) trace(c *call, request *checkreq.Request) {
	c.traced = true
	if s.options.Tracer == nil {
		return
	}
	parent := c.traceContext(request)
	c.span = s.options.Tracer.Begin(&parent, checkMethod[1:], c.started)
}

// traceContext is the parent of a check: Envoy's, else the client's, in W3C's headers or else in those of B3. One that came twice is none (W3C
// Trace Context s4.3).
func (c *call) traceContext(request *checkreq.Request) obs.TraceContext {
	parent := obs.ParseTraceContext(c.traceParent, c.traceState)
	if parent.IsValid() || request == nil {
		return parent
	}
	traceparent, _ := request.Headers.Get(traceparentHeader)
	tracestate, _ := request.Headers.Get(tracestateHeader)
	if parent = obs.ParseTraceContext(traceparent, tracestate); parent.IsValid() {
		return parent
	}
	var b3 obs.B3
	b3.Single, _ = request.Headers.Get(b3Header)
	if b3.Single == "" {
		b3.TraceID, _ = request.Headers.Get(b3TraceHeader)
		b3.SpanID, _ = request.Headers.Get(b3SpanHeader)
		b3.Sampled, _ = request.Headers.Get(b3SampledHeader)
		b3.Flags, _ = request.Headers.Get(b3FlagsHeader)
	}
	return b3.Context()
}

// traceOf names the span of a check; without one, that of whoever asked.
func (c *call) traceOf() obs.TraceContext {
	if c.span != nil {
		return c.span.Context()
	}
	return c.traceContext(c.request)
}

// enter begins a stage, unless the call was postponed in it and goes on.
func (c *call) enter(stage string) {
	if c.stage != stage {
		c.stage = stage
		c.span.Enter(stage)
	}
}

// endTrace says in the span what the call came to. Nothing that goes wrong here changes the answer, which is made.
func (s *Server) endTrace(c *call) {
	if s.options.Tracer == nil {
		return
	}
	defer s.survive(c, "tracing a decision panicked")
	if !c.traced {
		s.trace(c, nil)
	}
	if c.span == nil {
		return
	}
	span := c.span
	span.SetString("rpc.system.name", "grpc")
	span.SetString("rpc.method", checkMethod[1:])
	span.SetString("rpc.response.status_code", "OK") // of the call: an answer is never an error (docs/adr/0018)
	span.SetString("agentidp.decision.id", c.id)
	span.SetString("agentidp.decision.result", c.result)
	span.SetString("agentidp.decision.reason", c.reason)
	if c.status != 0 {
		span.SetInt("agentidp.decision.http_status", int64(c.status))
	}
	if c.overruled {
		span.SetBool("agentidp.decision.dry_run_passed", true)
	}
	if c.identity != nil {
		span.SetString("agentidp.organization.id", c.identity.OrganizationID)
	}
	if c.snapshot.Policy != nil {
		span.SetString("agentidp.policy.revision", c.snapshot.Policy.Revision())
	}
	span.SetInt("agentidp.snapshot.epoch", int64(c.snapshot.Epoch))
	if c.result == resultUndecided {
		span.Fail(c.reason)
	}
	span.End()
}

// survive is deferred by what happens beside a decision.
func (s *Server) survive(c *call, what string) {
	if p := recover(); p != nil {
		s.metrics.panics.Inc()
		s.options.Log.Error(what, "decision_id", c.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}
