package obs

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/agentidp/agentidp/internal/fetch"
)

// Tracer begins spans and exports them by OTLP over HTTP. It is safe for concurrent use. A nil *Tracer begins none: tracing is off.
type Tracer struct {
	sampler Sampler
	bound   uint64 // of what a trace id says about itself; see sampledByID
	now     func() time.Time
	spans   *spanQueue
	client  *fetch.Client
}

// TracerEnv is what a Tracer has from its process.
type TracerEnv struct {
	Service    string // service.name, if the configuration names none
	Prefix     string // of its metrics: agentidp_extauthz
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Now        func() time.Time
}

// NewTracer starts a Tracer; cfg must be valid, and nil is no tracing. Close it.
func NewTracer(cfg *Tracing, env TracerEnv) (*Tracer, error) {
	if cfg == nil {
		return nil, nil
	}
	client, err := cfg.client()
	if err != nil {
		return nil, err
	}
	spans := newSpanQueue(spanExport{
		client: client, url: cfg.url(), header: cfg.header(), resource: resource(cfg.Resource, env.Service), log: env.Log,
		version: Build().Version, pauseMin: exportPauseMin, wait: exportWait,
	}, env.Prefix)
	if err := env.Registerer.Register(spans); err != nil {
		client.Close()
		return nil, fmt.Errorf("metrics: %w", err)
	}
	go spans.run()
	return &Tracer{sampler: cfg.Sampler, bound: ratioBound(cfg.Ratio), now: env.Now, spans: spans, client: client}, nil
}

// Close sends what is queued, for at most two seconds. What is left then, and what comes later, is dropped and counted.
func (t *Tracer) Close() {
	if t != nil {
		t.spans.close()
		t.client.Close()
	}
}

// resource describes the process by the semantic conventions; what the operator writes wins.
func resource(operators map[string]string, service string) *resourcev1.Resource {
	all := map[string]string{
		"service.name": service, "service.version": Build().Version, "service.instance.id": uuid.NewString(),
		"telemetry.sdk.name": "agentidp", "telemetry.sdk.language": "go", "telemetry.sdk.version": Build().Version,
	}
	maps.Copy(all, operators)
	r := &resourcev1.Resource{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		r.Attributes = append(r.Attributes, stringAttribute(key, all[key]))
	}
	return r
}

// Begin starts the span of a request that arrived at a moment from somebody else, as a child of parent, or of none. It returns nil when the
// trace is not recorded; all methods of a nil *Span do nothing, so that a caller need not ask.
func (t *Tracer) Begin(parent *TraceContext, name string, at time.Time) *Span {
	if t == nil {
		return nil
	}
	known := parent.IsValid()
	if known && t.sampler == SamplerParent && !parent.Deferred {
		if !parent.Sampled {
			return nil
		}
		return t.begin(parent, name, at)
	}
	root := TraceContext{TraceID: parent.TraceID}
	if !known {
		binary.NativeEndian.PutUint64(root.TraceID[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(root.TraceID[8:], rand.Uint64()|1) // never all zeros
	}
	switch {
	case !t.sampledByID(&root.TraceID):
		return nil
	case known:
		return t.begin(parent, name, at)
	default:
		return t.begin(&root, name, at)
	}
}

// sampledByID takes the share of traces that OpenTelemetry's own TraceIdRatioBased samplers take: it depends on the trace alone, so that
// services with the same ratio record the same ones.
func (t *Tracer) sampledByID(id *[16]byte) bool { return binary.BigEndian.Uint64(id[8:])>>1 < t.bound }

func ratioBound(ratio float64) uint64 { return uint64(ratio * (1 << 63)) }

func (t *Tracer) begin(parent *TraceContext, name string, at time.Time) *Span {
	s := &Span{tracer: t, started: at}
	s.whole = s.wire(name, tracev1.Span_SPAN_KIND_SERVER, at)
	s.whole.TraceId, s.whole.TraceState = append([]byte(nil), parent.TraceID[:]...), parent.State
	if parent.SpanID != [8]byte{} {
		s.whole.ParentSpanId = append([]byte(nil), parent.SpanID[:]...)
		s.whole.Flags = spanParentRemote
	}
	s.whole.Flags |= flagSampled
	return s
}

// spanID is random: it names a span and opens nothing.
func spanID() []byte { return binary.NativeEndian.AppendUint64(nil, rand.Uint64()|1) }

func stringAttribute(key, value string) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: text(value)}}}
}
