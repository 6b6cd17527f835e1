package checkreq

import (
	"strings"
	"unicode/utf8"
)

// Sizes of what a Request brings along: more is allocated apart.
const (
	headersUsual  = 20
	segmentsUsual = 8
)

// Parse reads the bytes of a CheckRequest (envoy/service/auth/v3). It returns a Request that satisfies every rule of this
// package, or why there is none; exactly one of the two is not nil. It accepts any bytes, does not keep them, and never
// panics.
//
// The bytes are scanned in place: no message is built, and fields nobody reads cost next to nothing. What is accepted is
// what a protobuf decoder accepts, less what Envoy never sends: see message.
func Parse(check []byte) (*Request, *Refusal) {
	if len(check) > MessageBytesMax {
		return nil, refuseSize()
	}
	var whole struct { // one allocation for a usual request, and one for its text
		Request
		headers  [headersUsual]Header
		segments [segmentsUsual]string
	}
	r := &whole.Request
	r.Segments = whole.segments[:0]
	in := received{headers: whole.headers[:0]}
	if !r.check(message{wire: check, text: string(check)}, &in) {
		return nil, Unread(false)
	}
	if refusal := r.accept(&in); refusal != nil {
		return nil, refusal
	}
	return r, nil
}

// accept applies the rules, in the order in which they speak.
func (r *Request) accept(in *received) *Refusal {
	if !in.http {
		return refuse(ReasonEmpty, "the check carries no HTTP request")
	}
	if refusal := r.checkMethod(); refusal != nil {
		return refusal
	}
	if refusal := r.readTarget(in); refusal != nil {
		return refusal
	}
	if refusal := r.readHeaders(in); refusal != nil {
		return refusal
	}
	if refusal := r.checkAgreement(); refusal != nil {
		return refusal
	}
	if refusal := r.readBody(in); refusal != nil {
		return refusal
	}
	return r.checkAttributes(in)
}

func (r *Request) checkMethod() *Refusal {
	if len(r.Method) > MethodBytesMax || !isToken(r.Method) {
		return refuse(ReasonMethod, "the method is not a token of at most 32 bytes")
	}
	return nil
}

// readTarget splits the target and refuses what is no origin form (RFC 9112 s3.2.1). CONNECT without a path, "OPTIONS *"
// and absolute forms end here.
func (r *Request) readTarget(in *received) *Refusal {
	if in.query != "" || in.fragment != "" {
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
	segments, refusal := splitPath(r.Path, r.Segments)
	if refusal != nil {
		return refusal
	}
	r.Segments = segments
	if hasQuery {
		return checkQuery(r.Query)
	}
	return nil
}

// checkAgreement refuses a request whose pseudo headers and attributes name different things: one of them is what Envoy
// routes by, and the policy must not be shown the other.
//
// A sender may leave out an attribute that its header has (Envoy does not); then the header is what the policy is shown.
func (r *Request) checkAgreement() *Refusal {
	for _, header := range []string{":authority", "host"} {
		if r.Host == "" {
			r.Host, _ = r.Headers.Get(header)
		}
	}
	if r.Scheme == "" {
		r.Scheme, _ = r.Headers.Get(":scheme")
	}
	for _, pair := range []struct{ header, attribute string }{
		{":method", r.Method}, {":path", r.Target}, {":scheme", r.Scheme}, {":authority", r.Host}, {"host", r.Host},
	} {
		if value, ok := r.Headers.Get(pair.header); ok && value != pair.attribute {
			return refuse(ReasonConflict, "a pseudo header contradicts the request it belongs to")
		}
	}
	var ok bool
	if r.HostName, ok = hostName(r.Host); !ok {
		return refuse(ReasonHost, "the host is not a name or address with an optional port")
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		return refuse(ReasonTarget, "the scheme is neither http nor https")
	}
	return nil
}

// readBody finds out whether the body is whole. A policy that reads the body must be able to tell "absent" from "cut off".
func (r *Request) readBody(in *received) *Refusal {
	if in.body != "" && in.rawBody != "" {
		return refuse(ReasonConflict, "the body came twice")
	}
	if in.body != "" || in.rawBody != "" {
		r.Body, r.Raw = []byte(in.body+in.rawBody), in.rawBody != ""
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

func (r *Request) checkAttributes(in *received) *Refusal {
	if len(r.Extensions) > ExtensionsMax {
		return refuse(ReasonAttributes, "more than 64 context extensions")
	}
	if !isAttribute(r.ID) || !isAttribute(r.Protocol) || !isAttribute(r.SNI) || !areAttributes(r.Extensions) ||
		!r.Source.isText() || !r.Destination.isText() {
		return refuse(ReasonAttributes, "an attribute is longer than its limit or not text")
	}
	if in.metadataBad {
		return refuse(ReasonAttributes, "metadata that is too deep or holds a number that is none")
	}
	return nil
}

func (p *Peer) isText() bool {
	return isAttribute(p.Principal) && isAttribute(p.Service) && isAttribute(p.IP) && isAttribute(p.Pipe) &&
		areAttributes(p.Labels) && len(p.Certificate) <= CertificateBytesMax && isVisible(p.Certificate)
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
