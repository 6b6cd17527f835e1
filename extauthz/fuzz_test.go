package extauthz

import (
	"bytes"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// FuzzCheck asks the whole server with any bytes. There is always an answer that can be read in one way, no panic had to be turned into one,
// and nothing is allowed without a token of the corpus that is good, or a path that is public.
func FuzzCheck(f *testing.F) {
	registry := prometheus.NewRegistry()
	e := newEdge(f, ordersPolicy, func(o *Options) { o.Registerer = registry })
	var good [][]byte
	for _, c := range josetest.Corpus() {
		if c.Accept {
			good = append(good, []byte(c.Token))
		}
		f.Add(marshal(f, request("GET", "/orders/42?x=1", "authorization", "Bearer "+c.Token)))
	}
	for _, p := range josetest.ProofCorpus() {
		f.Add(marshal(f, request("GET", "/orders", "authorization", "DPoP "+josetest.Valid(), "dpop", p.Proof)))
	}
	bearer := "Bearer " + josetest.Valid()
	for _, in := range []*authv3.CheckRequest{
		{},
		request("GET", "/healthz"),
		request("CONNECT", ""),
		request("OPTIONS", "*"),
		request("GET", "/orders//../%2e", "authorization", bearer),
		request("GET", "/orders", "authorization", bearer, "authorization", bearer),
		request("GET", "/orders", "authorization", bearer, "x-agent-id", "forged", "connection", "x-agent-id"),
		request("GET", "/broken", "authorization", bearer),
		request("GET", "/forging", "authorization", bearer),
		request("POST", "/test.Orders/Get", "authorization", bearer, "content-type", "application/grpc", "te", "trailers"),
		withBody(request("POST", "/orders", "authorization", bearer, "content-type", "application/json"), `{"a": 1}`),
	} {
		whole := marshal(f, in)
		f.Add(whole)
		f.Add(whole[:len(whole)/2])
		f.Add(append(whole, whole...))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		answer, err := decoded(e.Server.Check(t.Context(), bytes.Clone(wire)).Wire())
		if err != nil {
			t.Fatal(err)
		}
		if n := panics(t, registry); n != 0 {
			t.Fatalf("%v panics had to be turned into answers", n)
		}
		if answer.GetOkResponse() == nil || bytes.Contains(wire, []byte("/healthz")) {
			return
		}
		for _, token := range good {
			if bytes.Contains(wire, token) {
				return
			}
		}
		t.Fatalf("allowed without a good token: %x", wire)
	})
}

func marshal(t testing.TB, in *authv3.CheckRequest) []byte {
	t.Helper()
	wire, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// panics is the counter of panics.
func panics(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "agentidp_extauthz_panics_total" {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("panics are not counted")
	return 0
}
