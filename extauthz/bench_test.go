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

// warm asks until the token was remembered: the cache stores in the background.
func (e *edge) warm(t testing.TB, check []byte) {
	t.Helper()
	before := testutil.ToFloat64(e.metrics.hits)
	for until := time.Now().Add(10 * time.Second); testutil.ToFloat64(e.metrics.hits) < before+2; {
		e.Server.Check(context.Background(), check)
		if time.Now().After(until) {
			t.Fatal("the token is not remembered")
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	e := newEdge(b, ordersPolicy, nil)
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
