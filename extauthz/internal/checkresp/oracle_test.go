package checkresp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agentidp/agentidp/internal/problem"
)

// The oracle builds answers from Envoy's message types. What Allow and Deny build must decode to the same messages.

func oracleAllow(g Grant, agent *Agent, policy *structpb.Struct) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{QueryParametersToRemove: g.Changes.removeQuery}
	for _, h := range g.Changes.addResponse {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: h.name, Value: h.value}})
	}
	if g.Nonce != "" {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, overwrite("dpop-nonce", g.Nonce))
	}
	for _, q := range g.Changes.setQuery {
		ok.QueryParametersToSet = append(ok.QueryParametersToSet, &corev3.QueryParameter{Key: q.name, Value: q.value})
	}
	ok.Headers = oracleIdentity(agent)
	for _, h := range g.Changes.set {
		// Of several fields of one name Envoy keeps the last (seen with 1.40.0), so they are one field (RFC 9110 s5.3).
		ok.Headers = append(ok.Headers, overwrite(h.name, strings.Join(h.values, ", ")))
	}
	ok.HeadersToRemove = append(ok.HeadersToRemove, g.Changes.removeRequest...)
	for _, name := range g.Strip {
		// Envoy removes after it has set, so a name in both lists would be lost. Setting replaces all copies the client sent.
		if !isSet(ok.Headers, name) {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: oracleMetadata(policy, g.DecisionID, agent),
	}
}

func isSet(headers []*corev3.HeaderValueOption, name string) bool {
	for _, h := range headers {
		if h.GetHeader().GetKey() == name {
			return true
		}
	}
	return false
}

func oracleIdentity(a *Agent) []*corev3.HeaderValueOption {
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

func oracleLimited(l Limited) []*corev3.HeaderValueOption {
	headers := []*corev3.HeaderValueOption{overwrite("retry-after", strconv.Itoa(l.RetryAfter))}
	if l.Policy == "" {
		return headers
	}
	return append(headers, overwrite("ratelimit-policy", fmt.Sprintf("%q;q=%d;w=%d", l.Policy, l.Quota, l.Window)), overwrite("ratelimit", fmt.Sprintf("%q;r=0;t=%d", l.Policy, l.RetryAfter)))
}

func oracleMetadata(policy *structpb.Struct, decisionID string, a *Agent) *structpb.Struct {
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

func oracleDeny(d Denial, policy *structpb.Struct) *authv3.CheckResponse {
	if !isDenialStatus(d.Status) {
		d.Status = 503
	}
	denied := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(d.Status)}}
	switch {
	case d.Body != nil:
		denied.Body = *d.Body
	case d.GRPC: // a content-type of ours would replace application/grpc and break the client
		denied.Body = clip(d.Code, codeBytesMax) + ": " + clip(d.Detail, detailBytesMax) + " (decision " + clip(d.DecisionID, codeBytesMax) + ")"
	default:
		denied.Body = oracleProblem(d)
		denied.Headers = append(denied.Headers, overwrite("content-type", "application/problem+json"))
	}
	if d.Challenge != nil {
		denied.Headers = append(denied.Headers, overwrite("www-authenticate", oracleChallenge(d.Challenge, d.Detail)))
	}
	if d.Challenge != nil && d.Challenge.Nonce != "" {
		denied.Headers = append(denied.Headers, overwrite("dpop-nonce", d.Challenge.Nonce))
	}
	switch {
	case d.Limited != nil:
		denied.Headers = append(denied.Headers, oracleLimited(*d.Limited)...)
	case d.Status == 503 && d.Body == nil:
		denied.Headers = append(denied.Headers, overwrite("retry-after", strconv.Itoa(retryAfterSeconds)))
	}
	if d.GRPC && !slices.ContainsFunc(d.Changes.set, func(h setting) bool { return h.name == "grpc-status" }) {
		denied.Headers = append(denied.Headers, overwrite("grpc-status", strconv.Itoa(int(rpcCode(d.Status)))),
			overwrite("grpc-status-details-bin", oracleDetails(d, denied.GetBody())))
	}
	denied.Headers = oraclePolicyHeaders(denied.Headers, d.Changes.set, d.GRPC)
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(rpcCode(d.Status))},
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: oracleMetadata(policy, d.DecisionID, nil),
	}
}

// oracleDetails is google.rpc.Status by its own types, as gRPC sends it.
func oracleDetails(d Denial, message string) string {
	info := &errdetails.ErrorInfo{
		Reason: strings.ToUpper(clip(d.Code, 63)), Domain: "agentidp", Metadata: map[string]string{"decision_id": clip(d.DecisionID, codeBytesMax)},
	}
	if d.Challenge != nil {
		if _, scopes, ok := strings.Cut(oracleChallenge(&Challenge{Error: "x", Scopes: d.Challenge.Scopes}, ""), `, scope="`); ok {
			info.Metadata["scopes"] = strings.TrimSuffix(scopes, `"`)
		}
	}
	details := []proto.Message{info}
	if d.Limited != nil {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(d.Limited.RetryAfter) * time.Second)})
	} else if d.Status == 503 && d.Body == nil {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	}
	s := &rpcstatus.Status{Code: int32(rpcCode(d.Status)), Message: message}
	for _, detail := range details {
		packed := &anypb.Any{}
		if err := anypb.MarshalFrom(packed, detail, proto.MarshalOptions{Deterministic: true}); err != nil {
			return err.Error()
		}
		s.Details = append(s.Details, packed)
	}
	wire, err := proto.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return base64.RawStdEncoding.EncodeToString(wire)
}

func oraclePolicyHeaders(headers []*corev3.HeaderValueOption, policy []setting, grpc bool) []*corev3.HeaderValueOption {
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

func oracleProblem(d Denial) string {
	document := oracleDocument(d)
	if len(document) > 1024 {
		d.Detail = ""
		document = oracleDocument(d)
	}
	return document
}

func oracleDocument(d Denial) string {
	kind := "about:blank"
	if d.Documented && d.Code != "" && strings.Trim(d.Code, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" {
		kind = problem.TypeURI(d.Code)
	}
	doc, err := json.Marshal(struct {
		Type       string `json:"type"`
		Title      string `json:"title"`
		Status     int    `json:"status"`
		Detail     string `json:"detail,omitempty"`
		Code       string `json:"code"`
		DecisionID string `json:"decisionId"`
	}{kind, http.StatusText(d.Status), d.Status, clip(d.Detail, detailBytesMax), clip(d.Code, codeBytesMax), clip(d.DecisionID, codeBytesMax)})
	if err != nil {
		return "" // cannot happen with strings and a number; the status says enough
	}
	return string(doc)
}

// explicit is Explicit for a message: as Envoy reads it.
func explicit(m *authv3.CheckResponse) bool { return isOK(m) || isDenial(m) }

func isOK(m *authv3.CheckResponse) bool {
	ok, is := m.GetHttpResponse().(*authv3.CheckResponse_OkResponse)
	return m.GetStatus() != nil && m.GetStatus().GetCode() == int32(codes.OK) && is && ok != nil && ok.OkResponse != nil
}

func isDenial(m *authv3.CheckResponse) bool {
	denied, is := m.GetHttpResponse().(*authv3.CheckResponse_DeniedResponse)
	return m.GetStatus().GetCode() != int32(codes.OK) && is && denied != nil && denied.DeniedResponse != nil &&
		isDenialStatus(int(denied.DeniedResponse.GetStatus().GetCode()))
}

func oracleChallenge(c *Challenge, description string) string {
	errors := ""
	if c.Error != "" {
		errors = `, error="` + quotable(c.Error, codeBytesMax) + `", error_description="` + quotable(description, detailBytesMax) + `"`
		scopes := ""
		for _, s := range c.Scopes {
			if IsScopeToken(s) && len(scopes)+1+len(s) <= challengeScopeMax {
				scopes = strings.TrimPrefix(scopes+" "+s, " ")
			}
		}
		if scopes != "" {
			errors += `, scope="` + scopes + `"`
		}
	}
	metadata := ""
	if c.ResourceMetadata != "" {
		metadata = `, resource_metadata="` + c.ResourceMetadata + `"`
	}
	bearer, dpop := `Bearer realm="agentidp"`+errors+metadata, `DPoP realm="agentidp"`+errors+`, algs="`+proofAlgorithms+`"`+metadata
	return map[Scheme]string{SchemeBearer: bearer, SchemeDPoP: dpop, SchemeEither: bearer + ", " + dpop}[c.Scheme]
}
