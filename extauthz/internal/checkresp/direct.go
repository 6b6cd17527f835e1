package checkresp

import (
	"bytes"
	"net/http"

	"google.golang.org/grpc/codes"
)

// DocumentBytesMax bounds a Document: Envoy, as we configure it, cuts the body of a denial at 4 KiB.
const DocumentBytesMax = 3 << 10

const (
	documentCache  = "public, max-age=300" // a resource changes its authorization servers with an overlap longer than that
	preflightCache = "600"                 // seconds
)

// Document is the metadata of the protected resource (RFC 9728 s3.2): the one thing that is answered in place of the
// service with a status that says success. It is rendered once, so that its answers can be told byte by byte from any
// other denial with such a status, which stays one that is not explicit. It is never changed.
type Document struct{ contents, preflight []byte } // each a DeniedHttpResponse

// NewDocument renders a JSON document of at most DocumentBytesMax. Whoever runs in a browser may read it, whichever site
// he comes from, but without credentials: it is the same for everybody.
func NewDocument(contents []byte) *Document {
	d := &Document{}
	d.contents = appendCode(nil, fieldHTTPStatus, http.StatusOK)
	d.contents = appendHeader(d.contents, fieldDeniedHeaders, "content-type", "application/json", actionOverwrite)
	d.contents = appendHeader(d.contents, fieldDeniedHeaders, "cache-control", documentCache, actionOverwrite)
	d.contents = appendHeader(d.contents, fieldDeniedHeaders, "access-control-allow-origin", "*", actionOverwrite)
	d.contents = appendText(d.contents, fieldBody, contents)

	d.preflight = appendCode(nil, fieldHTTPStatus, http.StatusNoContent)
	d.preflight = appendHeader(d.preflight, fieldDeniedHeaders, "access-control-allow-origin", "*", actionOverwrite)
	d.preflight = appendHeader(d.preflight, fieldDeniedHeaders, "access-control-allow-methods", "GET, HEAD", actionOverwrite)
	// A browser asks first when a client adds a header of its own, as MCP clients do (mcp-protocol-version).
	d.preflight = appendHeader(d.preflight, fieldDeniedHeaders, "access-control-allow-headers", "*", actionOverwrite)
	d.preflight = appendHeader(d.preflight, fieldDeniedHeaders, "access-control-max-age", preflightCache, actionOverwrite)
	return d
}

// Direct answers a request for the document, which is not forwarded. It is the third constructor, and for this alone
// (docs/adr/0018).
func Direct(d *Document, decisionID string) Answer { return d.answer(d.contents, decisionID) }

// DirectPreflight answers a browser that asks whether it may request the document.
func DirectPreflight(d *Document, decisionID string) Answer { return d.answer(d.preflight, decisionID) }

// answer is a denial to Envoy: whatever becomes of these bytes, the request does not pass.
func (d *Document) answer(denied []byte, decisionID string) Answer {
	metadata := appendMetadata(nil, nil, decisionID, &nobody, nil)
	wire := make([]byte, 0, len(denied)+len(metadata)+answerOverhead)
	wire = appendCode(wire, fieldStatus, int(codes.PermissionDenied))
	wire = appendBytes(wire, fieldDenied, denied)
	wire = appendBytes(wire, fieldMetadata, metadata)
	return Answer{wire, false}
}

// Answers reports whether the bytes of a CheckResponse are an answer with this document, or to a browser that asks for it,
// and can be read in no other way. No Document answers nothing.
func (d *Document) Answers(answer []byte) bool {
	if d == nil || !checkResponse.fits(answer) {
		return false
	}
	status, _ := part(answer, fieldStatus)
	denied, isDenial := part(answer, fieldDenied)
	_, isOK := part(answer, fieldOK)
	return codeOf(status) != 0 && isDenial && !isOK && (bytes.Equal(denied, d.contents) || bytes.Equal(denied, d.preflight))
}
