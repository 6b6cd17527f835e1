package checkresp

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
)

const (
	realm             = "agentidp"
	retryAfterSeconds = 1   // an outage of the sidecar's own material is over in seconds or needs a person
	detailBytesMax    = 256 // of a problem document: the body stays below 1 KiB
	codeBytesMax      = 64
	challengeScopeMax = 256 // bytes of the scope parameter
)

// Denial is why a request is not forwarded. The zero value is a 503.
type Denial struct {
	DecisionID string
	Status     int        // 300 to 599; anything else becomes 503
	Code       string     // stable, snake_case; names the problem for programs
	Detail     string     // a sentence for people; never bytes of the request
	Challenge  *Challenge // for WWW-Authenticate; nil leaves the header out
	GRPC       bool       // the client speaks gRPC: Envoy turns status and body into grpc-status and grpc-message
	Changes    Changes    // headers and metadata from the policy; only those that concern the answer are used
	Body       *string    // the policy's own body, instead of a problem document
}

// Challenge is a Bearer challenge (RFC 6750 s3). Without an error code it only says that a token is needed.
type Challenge struct {
	Error  string   // invalid_request, invalid_token, insufficient_scope or ""
	Scopes []string // what would have been enough
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
		Detail:     "The request could not be authorized at the moment.",
	}
}

// Deny answers with an explicit denial.
func Deny(d Denial) Answer {
	if !isDenialStatus(d.Status) {
		d.Status = http.StatusServiceUnavailable
	}
	denied := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(d.Status)}}
	switch {
	case d.Body != nil:
		denied.Body = *d.Body
	case d.GRPC: // a content-type of ours would replace application/grpc and break the client
		denied.Body = clip(d.Code, codeBytesMax) + ": " + clip(d.Detail, detailBytesMax) + " (decision " + clip(d.DecisionID, codeBytesMax) + ")"
	default:
		denied.Body = problemDocument(d)
		denied.Headers = append(denied.Headers, overwrite("content-type", "application/problem+json"))
	}
	if d.Challenge != nil {
		denied.Headers = append(denied.Headers, overwrite("www-authenticate", d.Challenge.header(d.Detail)))
	}
	if d.Status == http.StatusServiceUnavailable && d.Body == nil {
		denied.Headers = append(denied.Headers, overwrite("retry-after", strconv.Itoa(retryAfterSeconds)))
	}
	denied.Headers = appendPolicyHeaders(denied.Headers, d.Changes.set, d.GRPC)
	return Answer{&authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(rpcCode(d.Status))},
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: metadata(d.Changes.metadata, d.DecisionID, nil),
	}}
}

// appendPolicyHeaders lets the policy's headers replace ours: an operator who writes a login redirect knows why.
func appendPolicyHeaders(headers []*corev3.HeaderValueOption, policy []setting, grpc bool) []*corev3.HeaderValueOption {
	for _, h := range policy {
		if grpc && h.name == "content-type" {
			continue
		}
		headers = append(headers, overwrite(h.name, h.values[0]))
		for _, v := range h.values[1:] {
			headers = append(headers, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: h.name, Value: v},
				AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
			})
		}
	}
	return headers
}

func problemDocument(d Denial) string {
	doc, err := json.Marshal(struct {
		Type       string `json:"type"`
		Title      string `json:"title"`
		Status     int    `json:"status"`
		Detail     string `json:"detail,omitempty"`
		Code       string `json:"code"`
		DecisionID string `json:"decisionId"`
	}{"about:blank", http.StatusText(d.Status), d.Status, clip(d.Detail, detailBytesMax), clip(d.Code, codeBytesMax), clip(d.DecisionID, codeBytesMax)})
	if err != nil {
		return "" // cannot happen with strings and a number; the status says enough
	}
	return string(doc)
}

// header renders the challenge. Quoted strings hold nothing that would need a backslash.
func (c *Challenge) header(description string) string {
	var b strings.Builder
	b.WriteString(`Bearer realm="` + realm + `"`)
	if c.Error == "" {
		return b.String() // RFC 6750 s3.1: no error information without a credential
	}
	b.WriteString(`, error="` + quotable(c.Error, codeBytesMax) + `", error_description="` + quotable(description, detailBytesMax) + `"`)
	scopes := ""
	for _, s := range c.Scopes {
		if IsScopeToken(s) && len(scopes)+1+len(s) <= challengeScopeMax {
			scopes = strings.TrimPrefix(scopes+" "+s, " ")
		}
	}
	if scopes != "" {
		b.WriteString(`, scope="` + scopes + `"`)
	}
	return b.String()
}

// quotable keeps what RFC 6750 s3 allows in error_description: %x20-21, %x23-5B, %x5D-7E.
func quotable(s string, bytesMax int) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, clip(s, bytesMax))
}

// clip cuts at a character and drops control characters and what is no UTF-8.
func clip(s string, bytesMax int) string {
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

func rpcCode(status int) codes.Code {
	switch status {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusBadRequest:
		return codes.InvalidArgument
	default:
		return codes.PermissionDenied
	}
}
