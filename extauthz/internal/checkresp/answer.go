// Package checkresp builds what Envoy is told. Envoy takes a CheckResponse whose status code is 0 for an OK, and 0 is
// what a field that was never set holds: an empty response allows the request. So responses are built here and nowhere
// else, by Allow and Deny and, for one document, Direct; the zero Answer is a denial (docs/adr/0018). They are built as the
// bytes that are sent. The package is pure.
package checkresp

import (
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
)

// Answer is an explicit OK, an explicit denial, or a Document. The zero value is a denial with status 503.
type Answer struct {
	wire   []byte
	allows bool
}

// Wire is what goes to Envoy: the bytes of a CheckResponse. They satisfy Explicit, whatever the Answer, or are those of a
// Document.
func (a Answer) Wire() []byte {
	if a.wire == nil {
		return Deny(Unavailable("")).wire
	}
	return a.wire
}

// Allowed reports whether Envoy will forward the request.
func (a Answer) Allowed() bool { return a.wire != nil && a.allows }

// Explicit reports whether Envoy can read the bytes of a CheckResponse in one way only, and whether it will forward the
// request then: status OK with an OK response, or another status with a denied response that carries an HTTP status of its
// own. Envoy reads everything else too, and not as one would hope: no status is OK, and OK with a denied response is OK
// (seen with 1.40.0). Nothing may come twice, nothing may be there that this package does not send, and all of it must
// decode.
func Explicit(answer []byte) (allows, explicit bool) {
	if !checkResponse.fits(answer) {
		return false, false
	}
	status, hasStatus := part(answer, fieldStatus)
	code := codeOf(status)
	denied, isDenial := part(answer, fieldDenied)
	_, isOK := part(answer, fieldOK)
	switch {
	case !hasStatus || isDenial == isOK:
		return false, false
	case isOK:
		return code == 0, code == 0
	default:
		status, _ := part(denied, fieldHTTPStatus)
		return false, code != 0 && isDenialStatus(codeOf(status))
	}
}

// part is the message in a singular field of a message that fits its shape.
func part(message []byte, field protowire.Number) ([]byte, bool) {
	for len(message) > 0 {
		number, _, n := protowire.ConsumeTag(message)
		value, size := protowire.ConsumeBytes(message[n:])
		if number == field {
			return value, true
		}
		message = message[n+size:]
	}
	return nil, false
}

// codeOf is the code of a google.rpc.Status or an HttpStatus: what a decoder makes of the number, 0 when there is none.
func codeOf(status []byte) int {
	if len(status) == 0 {
		return 0
	}
	_, _, n := protowire.ConsumeTag(status) // a status that fits has one field
	code, _ := protowire.ConsumeVarint(status[n:])
	return int(int32(code))
}

// isDenialStatus accepts redirects and errors. A denial with status 200 would look like the service's own answer: see
// Document for the one there is.
func isDenialStatus(status int) bool {
	return status >= http.StatusMultipleChoices && status <= 599 && http.StatusText(status) != ""
}
