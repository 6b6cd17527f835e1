package extauthz_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A policy that takes longer than Envoy waits: the client gets 503, and nothing of the call stays behind, neither in Envoy nor here.
func TestEdgeTimeoutsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	p := &ports{edge: newEdge(t, "metrics: {listen: \"127.0.0.1:0\"}\n")}
	p.write(t, "policies/authz.rego", edgePolicy+`
allow if {
	input.parsed_path[0] == "slow"
	count([1 | numbers.range(1, 50000000)[_] == input.parsed_path]) == 1
}
`)
	p.start(t)
	p.startEnvoy(t, func(doc string) string { return replaceOnce(t, doc, "timeout: 5s # ", "timeout: 0.05s # ") })
	bearer := p.bearer(t)
	p.await(t, http.StatusOK, "/orders/1", bearer)
	idle := p.metric(t, "go_goroutines")
	reached := p.service.Count()
	var asking sync.WaitGroup
	for range 40 {
		asking.Go(func() {
			if a := p.get(t, "/slow", bearer); a.Status != http.StatusServiceUnavailable {
				t.Errorf("status %d, want 503", a.Status)
			}
		})
	}
	asking.Wait()
	if p.service.Count() != reached {
		t.Error("the service was reached")
	}
	awaitThat(t, "no call is left in Envoy", func() bool {
		_, text := httpGet(t, "http://"+p.proxy.Admin+"/stats?filter=^cluster.extauthz.upstream_rq_active$")
		return strings.Contains(text, "upstream_rq_active: 0\n")
	})
	awaitThat(t, "no goroutine is left here", func() bool { return p.metric(t, "go_goroutines") < idle+timeoutsSlack })
	p.await(t, http.StatusOK, "/orders/1", bearer)
}

// timeoutsSlack is less than one goroutine for each of the forty calls: connections of this test come and go.
const timeoutsSlack = 10
