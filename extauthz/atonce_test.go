package extauthz

import (
	"fmt"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
)

// asked is what the connection's goroutine makes of a check, and whether it was left to another.
func (e *edge) asked(t *testing.T, in *authv3.CheckRequest) (answer, bool) {
	t.Helper()
	wire, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out, code, later := e.serveCheck(&unary.Call{Message: wire})
	if later != nil {
		clear(wire) // it is not there any more when the rest is done
		out, code = later(t.Context())
	}
	if code != unary.OK {
		t.Fatalf("code %v", code)
	}
	m, err := decoded(out)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, m), later != nil
}

// What takes no work is answered at once, what does is left to others, and both come to what Check comes to.
func TestAnswersAtOnceAndLater(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, func(o *Options) {
		o.DecisionCache = settings.DecisionCache{Bytes: 1 << 20}
		o.DecisionCache.SetDefaults()
		o.Public = []settings.PublicRoute{{Method: "GET", PathPrefix: "/healthz"}}
	})
	sign := e.signer(t)
	good, unscoped := "Bearer "+sign(nil), "Bearer "+sign(map[string]any{"scope": "other"})
	for _, c := range []struct {
		name  string
		in    *authv3.CheckRequest
		first bool // whether the first of two is left to others
		then  bool
		want  int
	}{
		{"good", request("GET", "/orders", "authorization", good), true, false, 200},
		{"another path, same token", request("GET", "/orders/1", "authorization", good), true, false, 200},
		{"no scope", request("GET", "/orders", "authorization", unscoped), true, false, 403},
		{"no token", request("GET", "/orders"), false, false, 401},
		{"no credential", request("GET", "/orders", "authorization", "Basic eDp5"), false, false, 401},
		{"a bad token", request("GET", "/orders", "authorization", "Bearer a.b.c"), true, true, 401},
		{"public", request("GET", "/healthz"), true, false, 200},
		{"unreadable", &authv3.CheckRequest{}, false, false, 400},
	} {
		got, later := e.asked(t, c.in)
		if whole := e.ask(t, c.in); got.status != c.want || got.status != whole.status || got.code != whole.code || later != c.first {
			t.Errorf("%s: %d %s, later %v; want %d, later %v; Check says %d %s", c.name, got.status, got.code, later, c.want, c.first, whole.status, whole.code)
		}
		awaitTrue(t, c.name+" again", func() bool { // what is remembered is there a moment later
			got, later := e.asked(t, c.in)
			return later == c.then && got.status == c.want
		})
	}
}

// A call that was left to another goroutine is counted once: for limits, for tokens, for decisions.
func TestWhatIsLeftToOthersIsCountedOnce(t *testing.T) {
	t.Parallel()
	const burst = 20
	e := newEdge(t, ordersPolicy, func(o *Options) {
		o.DecisionCache = settings.DecisionCache{Bytes: 1 << 20}
		o.DecisionCache.SetDefaults()
		o.Limits = &settings.Limits{Enforce: true, Agent: &settings.RateLimit{Rate: 1e-6, Burst: burst}}
	})
	token := "Bearer " + e.signer(t)(nil)
	// The first is left to others because of its token, those after it because of their path, when nobody has asked for it.
	for n := range burst + 1 {
		want := 200
		if n == burst {
			want = 429
		}
		if got, _ := e.asked(t, request("GET", fmt.Sprintf("/orders/%d", n), "authorization", token)); got.status != want {
			t.Fatalf("request %d: %d, want %d", n+1, got.status, want)
		}
	}
	if hits, misses := testutil.ToFloat64(e.metrics.hits), testutil.ToFloat64(e.metrics.misses); hits+misses != burst+1 || misses == 0 {
		t.Errorf("%v hits and %v misses of tokens", hits, misses)
	}
	if n := testutil.CollectAndCount(e.metrics.decisions); n != 2 { // allowed and limited
		t.Errorf("%d outcomes", n)
	}
}

// What is no check is denied, and never a gRPC error; a caller that has gone is told nothing else.
func TestFaultsOfCalls(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	for fault, want := range map[unary.Fault]struct {
		status int
		code   string
	}{
		unary.FaultTooLarge: {400, "request_limit"}, unary.FaultMalformed: {400, "request_attributes"}, unary.FaultOverload: {503, "check_overload"},
	} {
		out, code, later := e.serveCheck(&unary.Call{Fault: fault})
		m, err := decoded(out)
		if err != nil || code != unary.OK || later != nil {
			t.Fatalf("%v: %v, %v", fault, code, err)
		}
		if got := read(t, m); got.status != want.status || want.status == 400 && got.code != want.code {
			t.Errorf("%v: %+v", fault, got)
		}
	}
	out, _, _ := e.serveCheck(&unary.Call{Deadline: time.Unix(1, 0)})
	if m, err := decoded(out); err != nil || read(t, m).status != 503 {
		t.Errorf("too late: %v, %v", m, err)
	}
}
