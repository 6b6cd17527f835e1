package extauthz

import (
	"context"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/admission"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// from says where Envoy got a request from.
func from(ip string, in *authv3.CheckRequest) *authv3.CheckRequest {
	in.Attributes.Source.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711}}}}
	return in
}

func order(ip, token string) *authv3.CheckRequest {
	return from(ip, request("GET", "/orders/1", "authorization", "Bearer "+token))
}

// forge makes distinct tokens that look good until their signature is checked.
func forge(good string, n int) string {
	header, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, _ := base64.RawURLEncoding.DecodeString(payload)
	forged := strings.Replace(string(claims), `"jti":"t-1"`, fmt.Sprintf(`"jti":"f-%d"`, n), 1)
	return header + "." + base64.RawURLEncoding.EncodeToString([]byte(forged)) + "." + strings.Repeat("Q", 86) // two numbers in range
}

// E10: a flood of forged tokens with a known key, while all that suspects may have of the processors is taken. It is
// counted what is checked, whatever the time it takes.
func TestFloodOfForgedTokens(t *testing.T) {
	t.Parallel()
	const flood, queue = 5000, 32
	e := newEdge(t, ordersPolicy, nil)
	sign := e.signer(t)
	warm := sign(map[string]any{"jti": "warm"})
	good := sign(nil)
	for until := time.Now().Add(30 * time.Second); testutil.ToFloat64(e.metrics.hits) == 0; {
		if got := e.ask(t, order("192.0.2.66", warm)); got.status != 200 || time.Now().After(until) {
			t.Fatalf("not remembered: %+v", got)
		}
	}
	for n := range admission.BadMax {
		if got := e.ask(t, order("192.0.2.66", forge(good, -n-1))); got.code != "token_signature" {
			t.Fatalf("forged token %d: %+v", n, got)
		}
	}
	release := e.occupySuspects(t)

	answers := make(chan answer, flood)
	work := make(chan int)
	var senders sync.WaitGroup
	for range 2 * queue {
		senders.Go(func() {
			for n := range work {
				answers <- e.ask(t, order("192.0.2.66", forge(good, n)))
			}
		})
	}
	go func() {
		defer close(work)
		for n := range flood {
			work <- n
		}
	}()
	for range flood - queue {
		if got := <-answers; got.status != 429 || got.code != "too_many_bad_tokens" || got.headers["retry-after"] != "1" {
			t.Fatalf("during the flood: %+v", got)
		}
	}
	_, before, refused := e.gate.Counts()
	if refused != flood-queue {
		t.Errorf("%d refused without a check, want %d", refused, flood-queue)
	}
	// All the others are as well as ever: a token that is remembered, also from where the flood comes; a new one from elsewhere.
	if got := e.ask(t, order("192.0.2.66", warm)); got.status != 200 {
		t.Errorf("a remembered token: %+v", got)
	}
	if got := e.ask(t, order("198.51.100.7", good)); got.status != 200 {
		t.Errorf("a new token from elsewhere: %+v", got)
	}
	if got := e.ask(t, from("192.0.2.66", request("GET", "/healthz"))); got.status != 200 {
		t.Errorf("a public route: %+v", got)
	}
	release()
	for range queue {
		if got := <-answers; got.status != 401 || got.code != "token_signature" {
			t.Errorf("at the end of the queue: %+v", got)
		}
	}
	senders.Wait()
	if _, after, _ := e.gate.Counts(); after-before != queue {
		t.Errorf("%d of suspects were checked, want %d", after-before, queue)
	}
	// A new good token from where the flood came is checked in its turn.
	if got := e.ask(t, order("192.0.2.66", sign(map[string]any{"jti": "new"}))); got.status != 200 {
		t.Errorf("after the flood: %+v", got)
	}
}

// occupySuspects takes what suspects have of the processors.
func (e *edge) occupySuspects(t testing.TB) (release func()) {
	t.Helper()
	const elsewhere = "203.0.113.1"
	for range admission.BadMax {
		p, _ := e.gate.Enter(elsewhere, josetest.Now())
		p.Checks()
		p.Leave(false)
	}
	var taken []admission.Pass
	for range max(1, runtime.GOMAXPROCS(0)/2) { // as admission.New promises
		p, ok := e.gate.Enter(elsewhere, josetest.Now())
		if !ok {
			t.Fatal("no room for the test")
		}
		taken = append(taken, p)
	}
	return sync.OnceFunc(func() {
		for n := range taken {
			taken[n].Leave(false)
		}
	})
}

// E10: random keys and random issuers cost no check, are held against nobody, and are remembered nowhere.
func TestFloodOfUnknownKeysAndIssuers(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	good := e.signer(t)(nil)
	_, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	claims, _ := base64.RawURLEncoding.DecodeString(payload)
	header, _ := base64.RawURLEncoding.DecodeString(good[:strings.Index(good, ".")])
	for n := range 2000 {
		kid := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"ES256","kid":"random-%d","typ":"at+jwt"}`, n))
		if got := e.ask(t, order("192.0.2.66", kid+"."+payload+"."+signature)); got.code != "key_unknown" {
			t.Fatalf("%+v", got)
		}
		issuer := strings.Replace(string(claims), josetest.Issuer, fmt.Sprintf("https://random-%d.example", n), 1)
		token := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString([]byte(issuer)) + "." + signature
		if got := e.ask(t, order("192.0.2.66", token)); got.code != "issuer_unknown" {
			t.Fatalf("%+v", got)
		}
	}
	if free, suspect, refused := e.gate.Counts(); free != 4000 || suspect != 0 || refused != 0 {
		t.Errorf("%d, %d, %d: somebody is suspected", free, suspect, refused)
	}
	if got := e.ask(t, order("192.0.2.66", good)); got.status != 200 {
		t.Errorf("a good token: %+v", got)
	}
}

// One broken client that repeats itself costs one check in ten seconds, and its neighbours nothing.
func TestOneBadTokenAgainAndAgain(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	good := e.signer(t)(nil)
	for range 1000 {
		if got := e.ask(t, order("192.0.2.66", forge(good, 1))); got.status != 401 || got.code != "token_signature" {
			t.Fatalf("%+v", got)
		}
	}
	if free, suspect, _ := e.gate.Counts(); free != 1 || suspect != 0 || e.verifier.RefusedHits() != 999 {
		t.Errorf("%d and %d checks, %d known", free, suspect, e.verifier.RefusedHits())
	}
}

// Somebody with a stolen bound token makes proofs that look right: what they cost is held against the token's key.
func TestFloodOfForgedProofs(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, longStarted)
	sign := e.signer(t)
	victim, other := josetest.NewHolder(), josetest.NewHolder()
	stolen := sign(map[string]any{"cnf": map[string]any{"jkt": victim.Thumbprint()}})
	theirs := sign(map[string]any{"cnf": map[string]any{"jkt": other.Thumbprint()}, "jti": "t-2"})
	release := e.occupySuspects(t)
	defer release()
	for n := range admission.BadMax {
		proof := victim.Prove("GET", orderURI, stolen, josetest.Now())
		forged := proof[:strings.LastIndex(proof, ".")+1] + strings.Repeat("A", 86)
		if got := e.ask(t, withProof(stolen, forged)); got.code != "proof_signature" {
			t.Fatalf("%d: %+v", n, got)
		}
	}
	if got := e.ask(t, asDPoP(theirs, other)); got.status != 200 {
		t.Errorf("another's proof from the same source: %+v", got)
	}
	done := make(chan answer)
	go func() { done <- e.ask(t, asDPoP(stolen, victim)) }()
	release()
	if got := <-done; got.status != 200 {
		t.Errorf("the victim, in turn: %+v", got)
	}
}

// What a forged token costs: of a source nobody suspects, and of a suspect whose queue is full.
func BenchmarkForged(b *testing.B) {
	run := func(b *testing.B, e *edge, good, code string) {
		checks := make([][]byte, 2*4096) // more than are remembered to be bad
		for n := range checks {
			checks[n] = encoded(b, order("192.0.2.66", forge(good, n)))
		}
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if e.Server.Check(context.Background(), checks[n%len(checks)]).Allowed() {
				b.Fatal("allowed")
			}
			n++
		}
		if got := e.ask(b, order("192.0.2.66", forge(good, -1))); got.code != code {
			b.Fatalf("%+v", got)
		}
	}
	b.Run("checked", func(b *testing.B) {
		e := newEdge(b, ordersPolicy, nil)
		run(b, e, e.signer(b)(nil), "token_signature")
	})
	b.Run("refused", func(b *testing.B) {
		e := newEdge(b, ordersPolicy, nil)
		good := e.signer(b)(nil)
		for n := range admission.BadMax {
			e.ask(b, order("192.0.2.66", forge(good, -2-n)))
		}
		release := e.occupySuspects(b)
		defer release()
		var queue sync.WaitGroup
		defer queue.Wait()
		defer release()
		for n := range 32 {
			queue.Go(func() { e.ask(b, order("192.0.2.66", forge(good, -100-n))) })
		}
		for refused := uint64(0); refused == 0; _, _, refused = e.gate.Counts() {
			queue.Go(func() { e.ask(b, order("192.0.2.66", forge(good, -99))) })
			time.Sleep(time.Millisecond)
		}
		run(b, e, good, "too_many_bad_tokens")
	})
}
