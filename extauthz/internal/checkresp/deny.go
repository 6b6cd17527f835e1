package checkresp

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentidp/agentidp/internal/problem"
)

const (
	realm             = "agentidp"
	retryAfterSeconds = 1   // an outage of the sidecar's own material is over in seconds or needs a person
	detailBytesMax    = 256 // of a problem document
	bodyBytesMax      = 1 << 10
	codeBytesMax      = 64
	challengeScopeMax = 256 // bytes of the scope parameter
)

// typeBase begins the type of each documented problem.
var typeBase = problem.TypeURI("")

// Denial is why a request is not forwarded. The zero value is a 503.
type Denial struct {
	DecisionID string
	Status     int        // 300 to 599; anything else becomes 503
	Code       string     // stable, snake_case; names the problem for programs
	Documented bool       // the code is one of docs/problems.md, which the problem's type leads to
	Detail     string     // a sentence for people; never bytes of the request
	Challenge  *Challenge // for WWW-Authenticate; nil leaves the header out
	Limited    *Limited   // when to come again; nil says nothing, except of a 503
	GRPC       bool       // the client speaks gRPC: it gets a status with details, and the body as its message
	Changes    Changes    // headers and metadata from the policy; only those that concern the answer are used
	Body       *string    // the policy's own body, instead of a problem document
}

// Unavailable is the denial for "cannot decide": our own outage, which must not look like a decision.
//
// It is a denied_response, not the newer error_response, although the latter is meant for failures: an error_response
// counts as an error of the authorization service, so a route with failure_mode_allow would forward the request. What
// could not be decided must not be allowed by anybody's configuration.
func Unavailable(decisionID string) Denial {
	return Denial{
		DecisionID: decisionID,
		Status:     http.StatusServiceUnavailable,
		Code:       "cannot_decide",
		Documented: true,
		Detail:     "The request could not be authorized at the moment.",
	}
}

// Deny answers with an explicit denial.
func Deny(d Denial) Answer {
	if !isDenialStatus(d.Status) {
		d.Status = http.StatusServiceUnavailable
	}
	var deniedRoom, metadataRoom, bodyRoom, challengeRoom [1 << 10]byte // usual sizes: 400, 60, 200 and 100 bytes
	denied, body := appendCode(deniedRoom[:0], fieldHTTPStatus, d.Status), bodyRoom[:0]
	switch {
	case d.Body != nil && d.GRPC && len(*d.Body) > bodyBytesMax: // it becomes a header, three bytes for one in the worst case
		body = append(body, clip(*d.Body, bodyBytesMax)...)
	case d.Body != nil:
		body = append(body, *d.Body...)
	case d.GRPC: // a content-type of ours would replace application/grpc and break the client
		body = append(append(body, clip(d.Code, codeBytesMax)...), ": "...)
		body = append(append(body, clip(d.Detail, detailBytesMax)...), " (decision "...)
		body = append(append(body, clip(d.DecisionID, codeBytesMax)...), ')')
	default:
		body = appendProblem(body, &d)
		denied = appendHeader(denied, fieldDeniedHeaders, "content-type", "application/problem+json", actionOverwrite)
	}
	if d.Challenge != nil {
		denied = appendHeader(denied, fieldDeniedHeaders, "www-authenticate", d.Challenge.appendTo(challengeRoom[:0], d.Detail), actionOverwrite)
		if d.Challenge.Nonce != "" { // RFC 9449 s8.1
			denied = appendHeader(denied, fieldDeniedHeaders, headerNonce, d.Challenge.Nonce, actionOverwrite)
		}
	}
	if d.Limited != nil {
		denied = d.Limited.appendTo(denied)
	} else if seconds := d.retryAfter(); seconds > 0 {
		denied = appendHeader(denied, fieldDeniedHeaders, "retry-after", strconv.Itoa(seconds), actionOverwrite)
	}
	denied = appendRPCStatus(denied, &d, body)
	denied = appendPolicyHeaders(denied, d.Changes.set, d.GRPC)
	denied = appendText(denied, fieldBody, body)
	metadata := appendMetadata(metadataRoom[:0], d.Changes.metadata, d.DecisionID, &nobody, nil)

	wire := make([]byte, 0, len(denied)+len(metadata)+answerOverhead)
	wire = appendCode(wire, fieldStatus, int(rpcCode(d.Status)))
	wire = appendBytes(wire, fieldDenied, denied)
	wire = appendBytes(wire, fieldMetadata, metadata)
	return Answer{wire, false}
}

// appendCode appends a Status or an HttpStatus.
func appendCode(b []byte, field protowire.Number, code int) []byte {
	b = appendLength(b, field, 1+protowire.SizeVarint(uint64(code)))
	return appendVarint(b, fieldCode, uint64(code))
}

// appendPolicyHeaders lets the policy's headers replace ours: an operator who writes a login redirect knows why.
func appendPolicyHeaders(denied []byte, policy []setting, grpc bool) []byte {
	for _, h := range policy {
		if grpc && h.name == "content-type" {
			continue
		}
		for n, v := range h.values {
			action := uint64(actionOverwrite)
			if n > 0 {
				action = actionAdd
			}
			denied = appendHeader(denied, fieldDeniedHeaders, h.name, v, action)
		}
	}
	return denied
}

// appendProblem appends a problem document (RFC 9457) of at most bodyBytesMax. A code nobody documented is a policy's own: its
// problem has no type.
func appendProblem(b []byte, d *Denial) []byte {
	from := len(b)
	if b = appendProblemWith(b, d, clip(d.Detail, detailBytesMax)); len(b)-from > bodyBytesMax {
		b = appendProblemWith(b[:from], d, "") // a detail of characters that are escaped; the code says enough
	}
	return b
}

func appendProblemWith(b []byte, d *Denial, detail string) []byte {
	code := clip(d.Code, codeBytesMax)
	if d.Documented && isCode(code) {
		b = append(append(append(append(b, `{"type":"`...), typeBase...), code...), `","title":`...)
	} else {
		b = append(b, `{"type":"about:blank","title":`...)
	}
	b = appendJSON(b, http.StatusText(d.Status))
	b = strconv.AppendInt(append(b, `,"status":`...), int64(d.Status), 10)
	if detail != "" {
		b = appendJSON(append(b, `,"detail":`...), detail)
	}
	b = appendJSON(append(b, `,"code":`...), code)
	b = appendJSON(append(b, `,"decisionId":`...), clip(d.DecisionID, codeBytesMax))
	return append(b, '}')
}

// appendJSON appends a string as encoding/json does.
func appendJSON(b []byte, s string) []byte {
	if !plain.all(s) {
		quoted, _ := json.Marshal(s) // a string cannot fail
		return append(b, quoted...)
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}

// characterSet is a set of bytes.
type characterSet [256]bool

func (set *characterSet) all(s string) bool {
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}

// plain is visible ASCII and space, without what JSON, encoding/json or a quoted string of a header would escape.
var plain = func() (set characterSet) {
	for c := ' '; c < 0x7f; c++ {
		set[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return set
}()

// quotable keeps what RFC 6750 s3 allows in error_description: %x20-21, %x23-5B, %x5D-7E.
func quotable(s string, bytesMax int) string {
	if len(s) <= bytesMax && plain.all(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, clip(s, bytesMax))
}

// clip cuts at a character and drops control characters and what is no UTF-8.
func clip(s string, bytesMax int) string {
	if len(s) <= bytesMax && plain.all(s) {
		return s
	}
	n := 0
	return strings.Map(func(r rune) rune {
		size := len(string(r))
		if n+size > bytesMax || r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		n += size
		return r
	}, s)
}

// isCode accepts what needs no escaping, in JSON and in the fragment of an address.
func isCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}
