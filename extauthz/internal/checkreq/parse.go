package checkreq

import (
	"strings"
	"time"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// Parse reads a CheckRequest. It returns a Request that satisfies every rule of this package, or why there is none;
// exactly one of the two is not nil. It accepts any message, also nil, and never panics.
func Parse(in *authv3.CheckRequest) (*Request, *Refusal) {
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
	if refusal := r.readTarget(http); refusal != nil {
		return nil, refusal
	}
	if refusal := r.readHeaders(http); refusal != nil {
		return nil, refusal
	}
	if refusal := r.checkAgreement(); refusal != nil {
		return nil, refusal
	}
	if refusal := r.readBody(http); refusal != nil {
		return nil, refusal
	}
	if refusal := r.readAttributes(attributes); refusal != nil {
		return nil, refusal
	}
	return r, nil
}

func (r *Request) checkMethod() *Refusal {
	if len(r.Method) > MethodBytesMax || !isToken(r.Method) {
		return refuse(ReasonMethod, "the method is not a token of at most 32 bytes")
	}
	return nil
}

// readTarget splits the target and refuses what is no origin form (RFC 9112 s3.2.1). CONNECT without a path, "OPTIONS *"
// and absolute forms end here.
func (r *Request) readTarget(http *authv3.AttributeContext_HttpRequest) *Refusal {
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
	segments, refusal := splitPath(r.Path)
	if refusal != nil {
		return refusal
	}
	r.Segments = segments
	if hasQuery {
		r.Parameters, refusal = parseQuery(r.Query)
	}
	return refusal
}

// checkAgreement refuses a request whose pseudo headers and attributes name different things: one of them is what Envoy
// routes by, and the policy must not be shown the other.
func (r *Request) checkAgreement() *Refusal {
	for _, pair := range []struct{ header, attribute string }{
		{":method", r.Method}, {":path", r.Target}, {":scheme", r.Scheme}, {":authority", r.Host}, {"host", r.Host},
	} {
		if value, ok := r.Headers.Get(pair.header); ok && value != pair.attribute {
			return refuse(ReasonConflict, "a pseudo header contradicts the request it belongs to")
		}
	}
	if !isHost(r.Host) {
		return refuse(ReasonHost, "the host is not a name or address with an optional port")
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		return refuse(ReasonTarget, "the scheme is neither http nor https")
	}
	return nil
}

// readBody finds out whether the body is whole. A policy that reads the body must be able to tell "absent" from "cut off".
func (r *Request) readBody(http *authv3.AttributeContext_HttpRequest) *Refusal {
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

// parseLength reads 1*DIGIT (RFC 9110 s8.6) of at most 18 digits, so that it cannot overflow.
func parseLength(s string) (uint64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, true
}

func (r *Request) readAttributes(a *authv3.AttributeContext) *Refusal {
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

// isAttribute accepts text without control characters: what Envoy reports lands in policies and logs.
func isAttribute(s string) bool {
	if len(s) > AttributeBytesMax || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func areAttributes(m map[string]string) bool {
	for k, v := range m {
		if !isAttribute(k) || !isAttribute(v) {
			return false
		}
	}
	return true
}
