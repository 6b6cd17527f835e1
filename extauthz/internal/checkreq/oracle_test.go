package checkreq

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// oracle is the independent reading of a check: from Envoy's message types, decoded by the protobuf library. Parse must come
// to the same Request or the same Refusal. The rules about single values (a path, a header value, a host) are shared; they
// have tests of their own.
func oracle(in *authv3.CheckRequest) (*Request, *Refusal) {
	attributes := in.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	if http == nil {
		return nil, refuse(ReasonEmpty, "the check carries no HTTP request")
	}
	r := &Request{
		ID:       http.GetId(),
		Method:   http.GetMethod(),
		Scheme:   http.GetScheme(),
		Host:     http.GetHost(),
		Protocol: http.GetProtocol(),
		Target:   http.GetPath(),
		Size:     http.GetSize(),
	}
	if t := attributes.GetRequest().GetTime(); t != nil {
		r.Time = time.Unix(t.GetSeconds(), int64(t.GetNanos())).UTC()
	}
	if refusal := r.checkMethod(); refusal != nil {
		return nil, refusal
	}
	if refusal := r.oracleTarget(http); refusal != nil {
		return nil, refusal
	}
	if refusal := r.oracleHeaders(http); refusal != nil {
		return nil, refusal
	}
	if refusal := r.checkAgreement(); refusal != nil {
		return nil, refusal
	}
	if refusal := r.oracleBody(http); refusal != nil {
		return nil, refusal
	}
	if refusal := r.oracleAttributes(attributes); refusal != nil {
		return nil, refusal
	}
	return r, nil
}

func (r *Request) oracleTarget(http *authv3.AttributeContext_HttpRequest) *Refusal {
	if http.GetQuery() != "" || http.GetFragment() != "" {
		// Envoy leaves both empty and puts the query into path. A sender that fills them is not Envoy.
		return refuse(ReasonTarget, "query and fragment must be part of the path attribute")
	}
	if len(r.Target) > TargetBytesMax {
		return refuse(ReasonTarget, "path and query are longer than 8 KiB")
	}
	if r.Target == "" || r.Target[0] != '/' {
		return refuse(ReasonTarget, "the request target does not start with a slash")
	}
	var hasQuery bool
	r.Path, r.Query, hasQuery = strings.Cut(r.Target, "?")
	segments, refusal := splitPath(r.Path, nil)
	if refusal != nil {
		return refusal
	}
	r.Segments = segments
	if hasQuery {
		return checkQuery(r.Query)
	}
	return nil
}

func (r *Request) oracleBody(http *authv3.AttributeContext_HttpRequest) *Refusal {
	text, raw := http.GetBody(), http.GetRawBody()
	if text != "" && len(raw) > 0 {
		return refuse(ReasonConflict, "the body came twice")
	}
	r.Body, r.Raw = raw, len(raw) > 0
	if text != "" {
		r.Body = []byte(text)
	}
	partial, _ := r.Headers.Get("x-envoy-auth-partial-body")
	r.Partial = partial == "true"
	declared, ok := r.Headers.Get("content-length")
	if !ok {
		return nil
	}
	length, ok := parseLength(declared)
	if !ok {
		return refuse(ReasonHeader, "content-length is not a whole number")
	}
	if len(r.Body) > 0 && length > uint64(len(r.Body)) {
		r.Partial = true
	}
	return nil
}

func (r *Request) oracleAttributes(a *authv3.AttributeContext) *Refusal {
	extensions := a.GetContextExtensions()
	if len(extensions) > ExtensionsMax {
		return refuse(ReasonAttributes, "more than 64 context extensions")
	}
	ok := isAttribute(r.ID) && isAttribute(r.Protocol) && areAttributes(extensions)
	r.Extensions = extensions
	r.Source, r.Destination = readPeer(a.GetSource()), readPeer(a.GetDestination())
	for _, p := range []Peer{r.Source, r.Destination} {
		ok = ok && isAttribute(p.Principal) && isAttribute(p.Service) && isAttribute(p.IP) && isAttribute(p.Pipe) &&
			areAttributes(p.Labels) && len(p.Certificate) <= CertificateBytesMax && isVisible(p.Certificate)
	}
	r.SNI = a.GetTlsSession().GetSni()
	if !ok || !isAttribute(r.SNI) {
		return refuse(ReasonAttributes, "an attribute is longer than its limit or not text")
	}
	r.Metadata, ok = metadataTree(a.GetMetadataContext())
	if ok {
		r.RouteMetadata, ok = metadataTree(a.GetRouteMetadataContext())
	}
	if !ok {
		return refuse(ReasonAttributes, "metadata that is too deep or holds a number that is none")
	}
	return nil
}

func readPeer(p *authv3.AttributeContext_Peer) Peer {
	address := p.GetAddress()
	return Peer{
		Principal:   p.GetPrincipal(),
		Certificate: p.GetCertificate(),
		Service:     p.GetService(),
		Labels:      p.GetLabels(),
		IP:          address.GetSocketAddress().GetAddress(),
		Port:        address.GetSocketAddress().GetPortValue(),
		Pipe:        address.GetPipe().GetPath(),
	}
}

func (r *Request) oracleHeaders(http *authv3.AttributeContext_HttpRequest) *Refusal {
	plain, raw := http.GetHeaders(), http.GetHeaderMap().GetHeaders()
	if len(plain)+len(raw) > HeadersMax {
		return refuse(ReasonLimit, "more than 100 headers")
	}
	all, bytes := make(Headers, 0, len(plain)+len(raw)), 0
	for name, value := range plain {
		all, bytes = append(all, Header{name, value}), bytes+len(name)+len(value)
	}
	for _, field := range raw {
		value, ok := rawValue(field)
		if !ok {
			return refuse(ReasonConflict, "a header has two values in one field")
		}
		all, bytes = append(all, Header{field.GetKey(), value}), bytes+len(field.GetKey())+len(value)
	}
	if bytes > HeaderBytesMax {
		return refuse(ReasonLimit, "more than 60 KiB of headers")
	}
	for i := range all {
		if !isFieldName(all[i].Name) {
			return refuse(ReasonHeader, "a header name is not a token")
		}
		if !isFieldValue(all[i].Value) {
			return refuse(ReasonHeader, "a header value has control characters or is not UTF-8")
		}
		all[i].Name = strings.ToLower(all[i].Name)
	}
	slices.SortStableFunc(all, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	folded := map[string]bool{}
	for name := range plain {
		if folded[strings.ToLower(name)] {
			return refuse(ReasonDuplicate, "a header that must be single came more than once")
		}
		folded[strings.ToLower(name)] = true
	}
	for i := 1; i < len(all); i++ {
		if all[i].Name == all[i-1].Name && (all[i].Name[0] == ':' || single[all[i].Name]) {
			return refuse(ReasonDuplicate, "a header that must be single came more than once")
		}
	}
	return r.keep(all)
}

func rawValue(field *corev3.HeaderValue) (string, bool) {
	value, raw := field.GetValue(), field.GetRawValue()
	if len(raw) == 0 {
		return value, true
	}
	return string(raw), value == ""
}

func metadataTree(m *corev3.Metadata) (map[string]any, bool) {
	if m == nil {
		return nil, true
	}
	tree := make(map[string]any, len(m.GetFilterMetadata()))
	for name, fields := range m.GetFilterMetadata() {
		v, ok := structTree(fields, metadataDepthMax)
		if !ok {
			return nil, false
		}
		tree[name] = v
	}
	return tree, true
}

func structTree(s *structpb.Struct, depth int) (map[string]any, bool) {
	if depth == 0 {
		return nil, false
	}
	tree := make(map[string]any, len(s.GetFields()))
	for name, value := range s.GetFields() {
		v, ok := valueTree(value, depth-1)
		if !ok {
			return nil, false
		}
		tree[name] = v
	}
	return tree, true
}

func valueTree(v *structpb.Value, depth int) (any, bool) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue, true
	case *structpb.Value_BoolValue:
		return kind.BoolValue, true
	case *structpb.Value_NumberValue:
		n := kind.NumberValue
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return nil, false
		}
		return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), true
	case *structpb.Value_StructValue:
		return structTree(kind.StructValue, depth)
	case *structpb.Value_ListValue:
		return listTree(kind.ListValue, depth)
	default:
		return nil, true
	}
}

func listTree(l *structpb.ListValue, depth int) (any, bool) {
	if depth == 0 {
		return nil, false
	}
	list := make([]any, 0, len(l.GetValues()))
	for _, value := range l.GetValues() {
		v, ok := valueTree(value, depth-1)
		if !ok {
			return nil, false
		}
		list = append(list, v)
	}
	return list, true
}
