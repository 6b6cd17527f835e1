package envoy_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// answers is the table of docs/adr/0018: what Envoy makes of what an authorization server may return by mistake. When a new Envoy
// changes a row, the record changes with it.
func answers() []struct {
	name            string
	respond         func(ctx context.Context) (*authv3.CheckResponse, error)
	strict, lenient int // HTTP status with the shipped file, and with failure_mode_allow
} {
	fixed := func(r *authv3.CheckResponse) func(context.Context) (*authv3.CheckResponse, error) {
		return func(context.Context) (*authv3.CheckResponse, error) { return r, nil }
	}
	denied := &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}}}
	return []struct {
		name            string
		respond         func(ctx context.Context) (*authv3.CheckResponse, error)
		strict, lenient int
	}{
		{"an empty response is an OK", fixed(&authv3.CheckResponse{}), 200, 200},
		{"OK with a denied_response is an OK", fixed(&authv3.CheckResponse{Status: &status.Status{}, HttpResponse: denied}), 200, 200},
		{"a denial without a denied_response is 403", fixed(&authv3.CheckResponse{Status: &status.Status{Code: int32(codes.Unavailable)}}), 403, 403},
		{"an explicit denial is what it says", fixed(&authv3.CheckResponse{Status: &status.Status{Code: int32(codes.Unauthenticated)}, HttpResponse: denied}), 401, 401},
		{"a gRPC error is left to the configuration", func(context.Context) (*authv3.CheckResponse, error) {
			return nil, grpcstatus.Error(codes.Internal, "broken")
		}, 503, 200},
		{"silence is left to the configuration", func(ctx context.Context) (*authv3.CheckResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 503, 200},
		{"an error_response is left to the configuration", fixed(&authv3.CheckResponse{
			Status: &status.Status{Code: int32(codes.Unavailable)},
			HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			}},
		}), 503, 200},
	}
}

func TestWhatEnvoyMakesOfAnswers(t *testing.T) {
	t.Parallel()
	patient := func(doc string) string { // the machine may be busy; only silence is to time out
		return replaceOnce(t, doc, "timeout: 0.25s # ", "timeout: 2s # ")
	}
	strict := newWorld(t, patient)
	lenient := newWorld(t, func(doc string) string {
		return replaceOnce(t, patient(doc), "failure_mode_allow: false", "failure_mode_allow: true")
	})
	for _, a := range answers() {
		for _, side := range []struct {
			name  string
			world *world
			want  int
		}{{"shipped", strict, a.strict}, {"failure_mode_allow", lenient, a.lenient}} {
			side.world.authorizer.set(a.respond)
			before := side.world.service.Count()
			got := side.world.get(t, "/orders").Status
			if got != side.want || (side.world.service.Count() > before) != (side.want == http.StatusOK) {
				t.Errorf("%s (%s): %d and the service saw it: %v; want %d", a.name, side.name, got, side.world.service.Count() > before, side.want)
			}
		}
	}
}

// Removal runs after setting, so a name in both lists is lost; of a header set twice the last value counts.
func TestOrderOfHeaderChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(doc string) string { return doc })
	for deadline := time.Now().Add(exchangeTimeout); ; {
		response := allow("x-user", "ours", "x-twice", "first", "x-twice", "second")
		response.GetOkResponse().HeadersToRemove = []string{"x-user"}
		response.GetOkResponse().Headers = append(response.GetOkResponse().Headers, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-seen", Value: "yes"}})
		w.authorizer.answer(response)
		if w.get(t, "/orders", "X-User: client", "X-Twice: client").Status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no request gets through")
		}
	}
	if got := w.service.Values("x-user"); len(got) != 0 {
		t.Errorf("x-user %q reached the service although it was removed", got)
	}
	if got := w.service.Values("x-twice"); len(got) != 1 || got[0] != "second" {
		t.Errorf("x-twice %q, want the last value alone", got)
	}
	if got := w.service.Values("x-seen"); len(got) != 1 {
		t.Errorf("x-seen %q: the changes were not applied at all", got)
	}
}
