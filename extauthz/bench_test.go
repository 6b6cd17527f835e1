package extauthz

import (
	"context"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"
)

// usual is a check of some 1,300 bytes: a token of 600, twelve headers.
func usual(t testing.TB, token string) []byte {
	t.Helper()
	return encoded(t, request("GET", "/orders/42?x=1", "authorization", "Bearer "+token, "accept", "*/*", "user-agent", "bench/1", "x-request-id", "r",
		"x-forwarded-for", "10.0.0.1", "x-forwarded-proto", "https", "accept-encoding", "gzip", "content-type", "application/json", "traceparent", "00-1-2-01"))
}

func encoded(t testing.TB, in *authv3.CheckRequest) []byte {
	t.Helper()
	wire, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// withDecisionCache switches the decision cache on, as the configuration file does.
func withDecisionCache(o *Options) { o.DecisionCache.SetDefaults() }

// warm asks until token and decision are remembered: the caches store in the background.
func (e *edge) warm(t testing.TB, check []byte) {
	t.Helper()
	before, _ := e.decisions.Counts()
	verified := testutil.ToFloat64(e.metrics.hits)
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		e.Server.Check(context.Background(), check)
		if now, _ := e.decisions.Counts(); now >= before+2 && testutil.ToFloat64(e.metrics.hits) >= verified+2 {
			return
		}
	}
	t.Fatal("the check is not remembered")
}

const warmAllocationsMax = 12 + raceAllocations

// What a warm check allocates is what its CPU time and the garbage collector's are made of.
func TestWarmCheckAllocations(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	e := newEdge(t, ordersPolicy, withDecisionCache)
	sign := e.signer(t)
	for name, c := range map[string]struct {
		check   []byte
		allowed bool
	}{
		"allowed":          {usual(t, sign(nil)), true},
		"denied by policy": {usual(t, sign(map[string]any{"scope": "other"})), false},
		"no token":         {encoded(t, request("GET", "/orders/42")), false},
	} {
		if name != "no token" {
			e.warm(t, c.check)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // as gRPC's has a deadline
		allocations := testing.AllocsPerRun(200, func() {
			if wire := e.Server.Check(ctx, c.check).Wire(); (wire[1] == 0) != c.allowed { // the status is first; OK's is empty
				t.Fatal("not as expected")
			}
		})
		cancel()
		t.Logf("%s: %v allocations", name, allocations)
		if allocations > warmAllocationsMax {
			t.Errorf("%s: %v allocations, want at most %d", name, allocations, warmAllocationsMax)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	e := newEdge(b, ordersPolicy, withDecisionCache)
	sign := e.signer(b)
	pad := strings.Repeat("p", 150)
	run := func(b *testing.B, check []byte, allowed bool) {
		b.ReportAllocs()
		for b.Loop() {
			if e.Server.Check(context.Background(), check).Allowed() != allowed {
				b.Fatal("not as expected")
			}
		}
	}
	b.Run("warm", func(b *testing.B) {
		one := usual(b, sign(map[string]any{"pad": pad}))
		e.warm(b, one)
		run(b, one, true)
	})
	b.Run("cold", func(b *testing.B) {
		many := make([][]byte, 512)
		for n := range many {
			many[n] = usual(b, sign(map[string]any{"pad": pad, "jti": string(rune('a'+n%26)) + strings.Repeat("x", n/26)}))
		}
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if n%len(many) == 0 { // forget
				e.changeKeysPointer(b)
			}
			if !e.Server.Check(context.Background(), many[n%len(many)]).Allowed() {
				b.Fatal("denied")
			}
			n++
		}
	})
	b.Run("denied", func(b *testing.B) { run(b, encoded(b, request("GET", "/orders/42")), false) })
	b.Run("denied by policy", func(b *testing.B) {
		one := usual(b, sign(map[string]any{"scope": "other", "pad": pad}))
		e.warm(b, one)
		run(b, one, false)
	})
}
