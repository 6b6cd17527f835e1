package extauthz_test

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// The next nonce comes with the service's own answer, once.
func TestEdgeNextNonce(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	e := newEdge(t, "dpop: {nonce: required}\n")
	e.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	e.startHere(t)
	e.startEnvoy(t)
	holder := josetest.NewHolder()
	const uri = "http://service.example/orders/1"
	token := e.token(t, "cnf", map[string]any{"jkt": holder.Thumbprint()})
	ask := func(nonce string) http.Header {
		t.Helper()
		a := e.get(t, "/orders/1", "Authorization: DPoP "+token, "DPoP: "+holder.Prove("GET", uri, token, e.now(), "nonce", nonce))
		if a.Status != http.StatusOK && nonce != "none" {
			t.Fatalf("status %d: %s", a.Status, a.Body)
		}
		return a.Header
	}
	nonce := ask("none").Get("DPoP-Nonce")
	if got := ask(nonce); got.Values("DPoP-Nonce") != nil {
		t.Errorf("a new nonce for one that is new: %v", got)
	}
	ahead.Store(int64(90 * time.Second))
	next := ask(nonce).Values("DPoP-Nonce")
	if len(next) != 1 || slices.Contains(next, nonce) {
		t.Fatalf("next nonce %q", next)
	}
	ahead.Store(int64(3 * time.Minute))
	ask(next[0])
}
