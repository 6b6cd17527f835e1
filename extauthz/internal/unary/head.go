package unary

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

// head is what the header block of a stream says.
type head struct {
	method, scheme, path, contentType string
	traceParent, traceState           string
	traceParents                      int
	timeout                           time.Duration // grpc-timeout; negative when there is none that can be read
	timed                             bool          // one came
	contentLength                     int64         // negative when there is none

	size      int  // as RFC 9113 s6.5.2 counts
	sizeMax   int  // of a block that is kept
	seen      byte // pseudo headers that came
	regular   bool // a header that is none came
	malformed bool // RFC 9113 s8.1.1
}

const (
	seenMethod = 1 << iota
	seenScheme
	seenPath
	seenAuthority

	fieldOverhead = 32 // of each header field (s6.5.2)
)

func (h *head) reset(sizeMax int) { *h = head{sizeMax: sizeMax, timeout: -1, contentLength: -1} }

// field takes one field of the block. Of a block that is too large nothing more is looked at: one byte can stand for a field of 4 KiB that came before
// (RFC 7541 s6.1), so a block of 16 KiB can mean 64 MiB, and only counting them may be paid for.
func (h *head) field(f hpack.HeaderField) {
	if h.size += len(f.Name) + len(f.Value) + fieldOverhead; h.size > h.sizeMax {
		return
	}
	if f.Name == "" {
		h.malformed = true
		return
	}
	for i := range len(f.Value) {
		if c := f.Value[i]; c == 0 || c == '\r' || c == '\n' {
			h.malformed = true // s8.2.1
			return
		}
	}
	if f.Name[0] == ':' {
		h.pseudo(f)
		return
	}
	h.regular = true
	switch f.Name {
	case "content-type":
		h.contentType = f.Value
	case "grpc-timeout":
		h.malformed = h.malformed || h.timed // neither of two is the caller's time
		h.timeout, h.timed = parseTimeout(f.Value), true
	case "traceparent":
		if h.traceParents++; h.traceParents == 1 {
			h.traceParent = f.Value
		} else {
			h.traceParent = "" // one that comes twice is none
		}
	case "tracestate":
		if h.traceState != "" {
			h.traceState += ","
		}
		h.traceState += f.Value
	case "content-length":
		n, err := strconv.ParseUint(f.Value, 10, 63)
		h.malformed = h.malformed || err != nil || h.contentLength >= 0 && h.contentLength != int64(n)
		h.contentLength = int64(n)
	case "te":
		h.malformed = h.malformed || f.Value != "trailers"
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade": // s8.2.2
		h.malformed = true
	default:
		for i := range len(f.Name) {
			if c := f.Name[i]; c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || c == ':' {
				h.malformed = true // s8.2.1
			}
		}
	}
}

func (h *head) pseudo(f hpack.HeaderField) {
	var bit byte
	switch f.Name {
	case ":method":
		bit, h.method = seenMethod, f.Value
	case ":scheme":
		bit, h.scheme = seenScheme, f.Value
	case ":path":
		bit, h.path = seenPath, f.Value
	case ":authority":
		bit = seenAuthority
	}
	// s8.3: once each, before all others, and no other names.
	h.malformed = h.malformed || bit == 0 || h.seen&bit != 0 || h.regular
	h.seen |= bit
}

// isRequest reports whether the block can begin a stream (s8.3.1).
func (h *head) isRequest() bool {
	const required = seenMethod | seenScheme | seenPath
	return !h.malformed && h.seen&required == required && h.path != ""
}

// isTrailer reports whether the block can end a stream (s8.1).
func (h *head) isTrailer() bool { return !h.malformed && h.seen == 0 }

// isGRPC is "PROTOCOL-HTTP2": application/grpc, with or without "+proto" and parameters.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// timeoutDigitsMax is of a grpc-timeout.
const timeoutDigitsMax = 8

// parseTimeout reads a grpc-timeout: up to eight digits and a unit. What is none is no timeout: our own limits hold then.
func parseTimeout(s string) time.Duration {
	if len(s) < 2 || len(s) > timeoutDigitsMax+1 {
		return -1
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return -1
	}
	n := time.Duration(0)
	for _, c := range []byte(s[:len(s)-1]) {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + time.Duration(c-'0')
	}
	if n > timeoutMax/unit {
		return timeoutMax
	}
	return n * unit
}

const timeoutMax = 24 * time.Hour
