package issuer_test

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

func TestRequestsJoinTheTraceOfTheirCaller(t *testing.T) {
	t.Parallel()
	collector := testkit.Collect(t)
	i := start(t, func(c *issuer.Config) {
		c.Tracing = &obs.Tracing{Endpoint: collector.URL}
		c.Tracing.SetDefaults()
		c.Tracing.Ratio = 0
	})
	trace := strings.Repeat("a", 32)
	for _, flags := range []string{"00", "01"} {
		i.must(i.admin(http.MethodGet, "/organizations", nil, "Traceparent", "00-"+trace+"-1234567890abcdef-"+flags), http.StatusOK)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); len(collector.Spans()) == 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("no span was exported")
		}
	}
	spans := collector.Spans()
	if s := spans[0]; len(spans) != 1 || hex.EncodeToString(s.TraceId) != trace || hex.EncodeToString(s.ParentSpanId) != "1234567890abcdef" ||
		s.Name != "GET /organizations" || s.Resource["service.name"] != "issuer" {
		t.Errorf("spans %v", spans)
	}
}

func TestTracingOfAConfig(t *testing.T) {
	t.Parallel()
	cfg, _, err := load(t, goodConfig+"tracing: {endpoint: \"https://collector.example\"}\n")
	if err != nil || cfg.Tracing.Sampler != obs.SamplerParent {
		t.Errorf("%+v, %v", cfg.Tracing, err)
	}
	_, _, err = load(t, goodConfig+"tracing: {endpoint: \"http://collector.example\"}\n")
	if err == nil || !strings.Contains(err.Error(), "issuer.yaml:10: tracing.endpoint: ") {
		t.Errorf("%v, want file, line and field", err)
	}
}
