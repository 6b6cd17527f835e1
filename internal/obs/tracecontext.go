package obs

import (
	"encoding/hex"
	"strings"
)

// traceStateBytesMax is what every participant must pass on (W3C Trace Context s3.3.1.5); a longer one is left out.
const traceStateBytesMax = 512

// TraceContext says which span is the parent of what happens next, and whether its trace is recorded. The zero value names none.
type TraceContext struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool
	// Deferred leaves to whoever continues the trace whether it is recorded (B3, which has a word for it).
	Deferred bool
	State    string // what vendors wrote for each other: passed on, never looked at
}

// IsValid reports whether there is a parent. Identifiers of zeros are no identifiers (W3C Trace Context s3.2.2.3, s3.2.2.4).
func (c *TraceContext) IsValid() bool { return c.TraceID != [16]byte{} && c.SpanID != [8]byte{} }

// Lengths and places in a traceparent: 00-<trace id>-<span id>-<flags>.
const (
	traceparentBytes = 55
	traceIDAt        = 3
	spanIDAt         = 36
	flagsAt          = 53
	flagSampled      = 1
)

// ParseTraceContext reads the headers traceparent and tracestate (W3C Trace Context s3.2, s3.3). A traceparent that is not exactly what the
// recommendation says names no parent. A later version may add to its end, and nothing else.
func ParseTraceContext(traceparent, tracestate string) TraceContext {
	if len(traceparent) < traceparentBytes || traceparent[2] != '-' || traceparent[spanIDAt-1] != '-' || traceparent[flagsAt-1] != '-' {
		return TraceContext{}
	}
	var c TraceContext
	var version, flags [1]byte
	if !unhex(version[:], traceparent[:2]) || !unhex(c.TraceID[:], traceparent[traceIDAt:spanIDAt-1]) ||
		!unhex(c.SpanID[:], traceparent[spanIDAt:flagsAt-1]) || !unhex(flags[:], traceparent[flagsAt:traceparentBytes]) {
		return TraceContext{}
	}
	rest := traceparent[traceparentBytes:]
	switch {
	case version[0] == 0xff || version[0] == 0 && rest != "" || rest != "" && rest[0] != '-' || !c.IsValid():
		return TraceContext{}
	case len(tracestate) <= traceStateBytesMax && !strings.ContainsFunc(tracestate, isNoStateByte):
		c.State = tracestate
	}
	c.Sampled = flags[0]&flagSampled != 0
	return c
}

// isNoStateByte: tracestate is visible ASCII, spaces and tabs (s3.3.1.3).
func isNoStateByte(r rune) bool { return (r < ' ' || r > '~') && r != '\t' }

// unhex decodes lower case only: upper case is not accepted (s3.2.2).
func unhex(to []byte, text string) bool {
	for i := range to {
		high, low := hexDigit(text[2*i]), hexDigit(text[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

// String is the traceparent of the context.
func (c *TraceContext) String() string {
	flags := "00"
	if c.Sampled {
		flags = "01"
	}
	return "00-" + hex.EncodeToString(c.TraceID[:]) + "-" + hex.EncodeToString(c.SpanID[:]) + "-" + flags
}
