// Package checkresp builds what Envoy is told. Envoy takes a CheckResponse whose status code is 0 for an OK, and 0 is
// what a field that was never set holds: an empty response allows the request. So responses are built here and nowhere
// else, by Allow and Deny and nothing else, and the zero Answer is a denial (docs/adr/0018). The package is pure.
package checkresp

import (
	"net/http"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
)

// Answer is an explicit OK or an explicit denial. The zero value is a denial with status 503.
type Answer struct{ message *authv3.CheckResponse }

// Message is what goes to Envoy. It satisfies Explicit, whatever the Answer.
func (a Answer) Message() *authv3.CheckResponse {
	if a.message == nil {
		return Deny(Unavailable("")).message
	}
	return a.message
}

// Allowed reports whether Envoy will forward the request.
func (a Answer) Allowed() bool { return isOK(a.message) }

// Explicit reports whether Envoy can read m in one way only: status OK with an OK response, or another status with a
// denied response that carries an HTTP status of its own. Envoy reads everything else too, and not as one would hope: no
// status is OK, and OK with a denied response is OK (seen with 1.40.0).
func Explicit(m *authv3.CheckResponse) bool { return isOK(m) || isDenial(m) }

func isOK(m *authv3.CheckResponse) bool {
	ok, is := m.GetHttpResponse().(*authv3.CheckResponse_OkResponse)
	return m.GetStatus() != nil && m.GetStatus().GetCode() == int32(codes.OK) && is && ok != nil && ok.OkResponse != nil
}

func isDenial(m *authv3.CheckResponse) bool {
	denied, is := m.GetHttpResponse().(*authv3.CheckResponse_DeniedResponse)
	return m.GetStatus().GetCode() != int32(codes.OK) && is && denied != nil && denied.DeniedResponse != nil &&
		isDenialStatus(int(denied.DeniedResponse.GetStatus().GetCode()))
}

// isDenialStatus accepts redirects and errors. A denial with status 200 would look like the service's own answer.
func isDenialStatus(status int) bool {
	return status >= http.StatusMultipleChoices && status <= 599 && http.StatusText(status) != ""
}
