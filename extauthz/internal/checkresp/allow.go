package checkresp

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

// The headers that tell the upstream who calls. A header whose value is not known is not set, and never forwarded either.
// Values are percent-encoded where they are not visible ASCII, and at "%".
const (
	HeaderID           = "x-agent-id"
	HeaderOrganization = "x-agent-organization"
	HeaderIssuer       = "x-agent-issuer"
	HeaderClientID     = "x-agent-client-id"
	HeaderScopes       = "x-agent-scopes" // space-separated
	HeaderName         = "x-agent-name"
	HeaderOrigin       = "x-agent-origin" // local or federated
)

// identityPrefix begins all of them, and whatever else looks like one of them.
const identityPrefix = "x-agent"

const (
	nameBytesMax       = 512     // x-agent-name; longer names are cut
	identifierBytesMax = 3 * 512 // the other identity headers: 512 bytes, each of them encoded
	scopesBytesMax     = 2 << 10 // x-agent-scopes; scopes beyond are left out, which can only take rights away
)

// Agent is what the upstream is told about the caller.
type Agent struct {
	ID, Organization, Issuer, ClientID, Name, Origin string
	Scopes                                           []string
}

// Grant is what goes with an OK.
type Grant struct {
	DecisionID string
	Agent      *Agent   // nil when the request was allowed without an identity
	Strip      []string // lower-case names of client headers that must not reach the upstream
	Changes    Changes  // what the policy wants changed
}

// Allow answers OK. The upstream sees each identity header once, with the value given here, or not at all.
func Allow(g Grant) Answer {
	ok := &authv3.OkHttpResponse{
		ResponseHeadersToAdd:    g.Changes.addResponse,
		QueryParametersToSet:    g.Changes.setQuery,
		QueryParametersToRemove: g.Changes.removeQuery,
	}
	ok.Headers = identityHeaders(g.Agent)
	set := ok.Headers
	for _, h := range g.Changes.set {
		// Of several fields of one name Envoy keeps the last (seen with 1.40.0), so they are one field (RFC 9110 s5.3).
		ok.Headers = append(ok.Headers, overwrite(h.name, strings.Join(h.values, ", ")))
	}
	ok.HeadersToRemove = append(ok.HeadersToRemove, g.Changes.removeRequest...)
	for _, name := range g.Strip {
		// Envoy removes after it has set, so a name in both lists would be lost. Setting replaces all copies the client sent.
		if !isSet(set, name) {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	return Answer{&authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadata(g.Changes.metadata, g.DecisionID, g.Agent),
	}}
}

func isSet(headers []*corev3.HeaderValueOption, name string) bool {
	for _, h := range headers {
		if h.GetHeader().GetKey() == name {
			return true
		}
	}
	return false
}

func identityHeaders(a *Agent) []*corev3.HeaderValueOption {
	if a == nil {
		return nil
	}
	headers := make([]*corev3.HeaderValueOption, 0, 7)
	for _, h := range [...]struct{ name, value string }{
		{HeaderID, exact(a.ID)},
		{HeaderOrganization, exact(a.Organization)},
		{HeaderIssuer, exact(a.Issuer)},
		{HeaderClientID, exact(a.ClientID)},
		{HeaderScopes, joinScopes(a.Scopes)},
		{HeaderName, encode(a.Name, nameBytesMax)},
		{HeaderOrigin, exact(a.Origin)},
	} {
		if h.value != "" {
			headers = append(headers, overwrite(h.name, h.value))
		}
	}
	return headers
}

func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// joinScopes leaves out what is no scope token (RFC 6749 s3.3): one with a space in it would be two.
func joinScopes(scopes []string) string {
	var b strings.Builder
	for _, s := range scopes {
		if !IsScopeToken(s) {
			continue
		}
		if b.Len()+1+len(s) > scopesBytesMax {
			break
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

// IsScopeToken is RFC 6749 s3.3: visible ASCII without quotation mark and backslash.
func IsScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// exact is encode for an identifier, whole or not at all: one that was cut could be somebody else's.
func exact(id string) string {
	if encoded := encode(id, len(id)*3); len(encoded) <= identifierBytesMax {
		return encoded
	}
	return ""
}

// encode percent-encodes what is not visible ASCII, and "%": the result is always a legal header value, and no two
// values look the same. What is too long is cut at a character.
func encode(s string, bytesMax int) string {
	if len(s) <= bytesMax && isPlain(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, r := range s { // what is not UTF-8 becomes U+FFFD; no identifier is
		before := b.Len()
		for _, c := range []byte(string(r)) {
			if c > ' ' && c < 0x7f && c != '%' {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			}
		}
		if b.Len() > bytesMax {
			return b.String()[:before]
		}
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '%' {
			return false
		}
	}
	return true
}

// metadata tells Envoy's access log and rate limiter what was decided about whom. It costs Envoy per byte: keep it small.
func metadata(policy *structpb.Struct, decisionID string, a *Agent) *structpb.Struct {
	m := policy
	if m == nil {
		m = &structpb.Struct{Fields: make(map[string]*structpb.Value, 3)}
	}
	m.Fields["decision_id"] = structpb.NewStringValue(exact(decisionID))
	if a != nil {
		m.Fields["agent_id"] = structpb.NewStringValue(exact(a.ID))
		m.Fields["organization_id"] = structpb.NewStringValue(exact(a.Organization))
	}
	return m
}
