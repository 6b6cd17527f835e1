package extauthz

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// A client whose nonce is about to expire is given the next one with an answer it gets anyway (RFC 9449 s8.2), so that it need
// not be refused first.
func TestNextNonce(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	at := func(o *Options) {
		longStarted(o)
		o.Now = func() time.Time { return josetest.Now().Add(time.Duration(clock.Load()) * time.Second) }
	}
	e := newEdge(t, ordersPolicy, func(o *Options) { at(o); o.Possession.NonceRequired = true })
	lenient := newEdge(t, ordersPolicy, at)
	holder := josetest.NewHolder()
	token, other := e.signer(t)(boundTo("jkt", holder.Thumbprint())), lenient.signer(t)(boundTo("jkt", holder.Thumbprint()))
	next := func(e *edge, in *authv3.CheckRequest) (allowed bool, nonce string) {
		t.Helper()
		m, err := e.Check(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range m.GetOkResponse().GetResponseHeadersToAdd() {
			if h.GetHeader().GetKey() == "dpop-nonce" {
				nonce += h.GetHeader().GetValue()
				if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
					t.Error("the service's nonce may stand beside ours")
				}
			}
		}
		return m.GetOkResponse() != nil, nonce
	}
	prove := func(second int64, nonce string) (bool, string) {
		clock.Store(second)
		return next(e, withProof(token, holder.Prove("GET", orderURI, token, e.options.Now(), "nonce", nonce)))
	}
	first := e.ask(t, withProof(token, holder.Prove("GET", orderURI, token, josetest.Now()))).headers["dpop-nonce"]
	for second, want := range map[int64]bool{0: false, 60: false, 61: true, 120: true} {
		if allowed, nonce := prove(second, first); !allowed || (nonce != "") != want || nonce == first {
			t.Errorf("second %d: allowed: %v, next nonce %q, want one: %v", second, allowed, nonce, want)
		}
	}
	_, second := prove(110, first)
	if allowed, nonce := prove(150, second); !allowed || nonce != "" {
		t.Errorf("the next nonce: allowed: %v, and again one: %q", allowed, nonce)
	}
	if allowed, _ := prove(150, first); allowed {
		t.Error("the first nonce has no end")
	}
	if allowed, nonce := next(e, request("GET", "/healthz")); !allowed || nonce != "" {
		t.Errorf("without a proof: allowed: %v, %q", allowed, nonce)
	}
	// Where nonces are not required, a client that was asked for one once is not kept at it.
	clock.Store(0)
	nonce := lenient.proofNonce(t)
	clock.Store(100)
	if allowed, next := next(lenient, withProof(other, holder.Prove("GET", orderURI, other, lenient.options.Now(), "nonce", nonce))); !allowed || next != "" {
		t.Errorf("not required: allowed: %v, %q", allowed, next)
	}
}

// proofNonce makes the server ask for a nonce: by a proof from before it started.
func (e *edge) proofNonce(t *testing.T) string {
	t.Helper()
	holder := josetest.NewHolder()
	fresh := newEdge(t, ordersPolicy, func(o *Options) { o.Possession.Started, o.Now = e.options.Now(), e.options.Now })
	token := fresh.signer(t)(boundTo("jkt", holder.Thumbprint()))
	nonce := fresh.ask(t, withProof(token, holder.Prove("GET", orderURI, token, e.options.Now()))).headers["dpop-nonce"]
	if nonce == "" {
		t.Fatal("no nonce")
	}
	e.proofs = fresh.proofs // whose nonces these are
	return nonce
}
