package obs

import (
	"strings"
	"time"
	"unicode/utf8"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

// attributeBytesMax is the longest value of an attribute; the rest is cut off.
const attributeBytesMax = 256

// spanParentRemote says that the parent is in another process, and that this is known (SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK, …_IS_REMOTE_MASK).
const spanParentRemote = 0x300

// Span is a recorded request and its stages. It belongs to the goroutine of the request until End. A nil *Span records nothing, at no cost.
type Span struct {
	tracer  *Tracer
	started time.Time
	whole   *tracev1.Span
	stages  []*tracev1.Span
	open    bool // the last stage has not ended
}

func (s *Span) wire(name string, kind tracev1.Span_SpanKind, at time.Time) *tracev1.Span {
	return &tracev1.Span{SpanId: spanID(), Name: name, Kind: kind, StartTimeUnixNano: s.unix(at)}
}

// unix is measured from the start of the span, so that a clock that is set meanwhile makes no span end before it began.
func (s *Span) unix(at time.Time) uint64 {
	return uint64(s.started.UnixNano() + int64(at.Sub(s.started)))
}

// Context names the span, for what is to be found by it; of a nil *Span it names none.
func (s *Span) Context() (c TraceContext) {
	if s != nil {
		copy(c.TraceID[:], s.whole.TraceId)
		copy(c.SpanID[:], s.whole.SpanId)
		c.Sampled = true
	}
	return c
}

// Enter begins a stage, a child span, and ends the one before it.
func (s *Span) Enter(stage string) {
	if s == nil {
		return
	}
	now := s.tracer.now()
	s.leave(now)
	child := s.wire(stage, tracev1.Span_SPAN_KIND_INTERNAL, now)
	child.TraceId, child.TraceState, child.ParentSpanId, child.Flags = s.whole.TraceId, s.whole.TraceState, s.whole.SpanId, flagSampled
	s.stages, s.open = append(s.stages, child), true
}

func (s *Span) leave(now time.Time) {
	if s.open {
		s.stages[len(s.stages)-1].EndTimeUnixNano = s.unix(now)
		s.open = false
	}
}

// SetString gives the whole span an attribute. Keys are those of the semantic conventions, or begin with agentidp. Values must be no secrets.
func (s *Span) SetString(key, value string) {
	if s != nil && value != "" {
		s.whole.Attributes = append(s.whole.Attributes, stringAttribute(key, value))
	}
}

// SetInt is SetString for numbers.
func (s *Span) SetInt(key string, value int64) {
	if s != nil {
		s.whole.Attributes = append(s.whole.Attributes, &commonv1.KeyValue{
			Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_IntValue{IntValue: value}},
		})
	}
}

// SetBool is SetString for yes and no.
func (s *Span) SetBool(key string, value bool) {
	if s != nil {
		s.whole.Attributes = append(s.whole.Attributes, &commonv1.KeyValue{
			Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_BoolValue{BoolValue: value}},
		})
	}
}

// Rename gives the span the name that was not known when it began.
func (s *Span) Rename(name string) {
	if s != nil {
		s.whole.Name = text(name)
	}
}

// Fail marks the request as one that this service could not serve. Refusing one is no failure.
func (s *Span) Fail(why string) {
	if s != nil {
		s.whole.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR}
		s.SetString("error.type", why)
	}
}

// End hands the span over to be exported. It never waits. Nothing of the span may be used after it.
func (s *Span) End() {
	if s == nil {
		return
	}
	now := s.tracer.now()
	s.leave(now)
	s.whole.EndTimeUnixNano = s.unix(now)
	s.tracer.spans.add(append(s.stages, s.whole))
}

// text makes what protobuf accepts as a string: one that it does not would cost the whole batch.
func text(s string) string {
	if len(s) > attributeBytesMax {
		s = s[:attributeBytesMax]
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "")
}
