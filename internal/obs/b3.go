package obs

import "strings"

// B3 are the headers of B3 propagation (Zipkin's; https://github.com/openzipkin/b3-propagation), as they came; "" for those that did not.
type B3 struct {
	Single                          string // b3
	TraceID, SpanID, Sampled, Flags string // x-b3-traceid, x-b3-spanid, x-b3-sampled, x-b3-flags
}

// Lengths in B3: identifiers are in lower case, and those of traces may have half their length.
const (
	b3SpanBytes       = 16
	b3TraceBytes      = 32
	b3ShortTraceBytes = 16
)

// Context is the parent that the headers name, or none where they are not what the specification says. The single header counts before the others.
func (b *B3) Context() TraceContext {
	if b.Single == "" {
		sampled := b.Sampled
		if b.Flags == "1" {
			sampled = "d"
		}
		return b3Context(b.TraceID, b.SpanID, sampled)
	}
	trace, rest, _ := strings.Cut(b.Single, "-")
	span, rest, decided := strings.Cut(rest, "-")
	sampled, before, known := strings.Cut(rest, "-") // before is the span that caused span
	var grandparent [8]byte
	if decided && sampled == "" || known && (len(before) != b3SpanBytes || !unhex(grandparent[:], before)) {
		return TraceContext{}
	}
	return b3Context(trace, span, sampled)
}

func b3Context(trace, span, sampled string) TraceContext {
	var c TraceContext
	traceID := c.TraceID[:]
	switch len(trace) {
	case b3ShortTraceBytes:
		traceID = traceID[8:]
	case b3TraceBytes:
	default:
		return TraceContext{}
	}
	if len(span) != b3SpanBytes || !unhex(traceID, trace) || !unhex(c.SpanID[:], span) || !c.IsValid() {
		return TraceContext{}
	}
	switch sampled {
	case "1", "d", "true":
		c.Sampled = true
	case "0", "false":
	case "":
		c.Deferred = true
	default:
		return TraceContext{}
	}
	return c
}
