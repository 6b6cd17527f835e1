package extauthz_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// filterOf is the block of docs/extauthz.md that begins with a comment, as http_filters of sidecar.yaml.
func filterOf(t *testing.T, comment string) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/extauthz.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(doc), "```yaml\n# "+comment+"\n")
	if !ok {
		t.Fatalf("docs/extauthz.md has no block %q", comment)
	}
	block, _, _ = strings.Cut(block, "```")
	const indent = "                  "
	return indent + strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n"+indent) + "\n"
}

// afterAuth puts filters between ext_authz and the router.
func afterAuth(t *testing.T, filters string) func(string) string {
	const router = "                  - name: envoy.filters.http.router\n"
	return func(doc string) string { return replaceOnce(t, doc, router, filters+router) }
}

func TestEdgeLimits(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "limits: {agent: {rate: 0.01, burst: 3}, organization: {rate: 0.01, burst: 5}}\n")
	e.startHere(t)
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/1", e.bearer(t, "sub", "agt_warm"))
	var got []int
	for range 4 {
		got = append(got, e.get(t, "/orders/1", e.bearer(t)).Status)
	}
	if d := cmp.Diff([]int{200, 200, 200, 429}, got); d != "" {
		t.Fatal(d)
	}
	before := e.service.Count()
	a := e.get(t, "/orders/1", e.bearer(t))
	if doc := problem(t, a); a.Status != http.StatusTooManyRequests || doc["code"] != "agent_limit" || doc["status"] != 429.0 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for name, want := range map[string]string{"Retry-After": "100", "RateLimit-Policy": `"agent";q=3;w=300`, "RateLimit": `"agent";r=0;t=100`} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if e.service.Count() != before {
		t.Error("the service was reached")
	}
	// gRPC clients are told what limits are in gRPC; Envoy would make UNAVAILABLE of 429, which they repeat at once.
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", strings.TrimPrefix(e.bearer(t), "Authorization: "))
	_, err := authv3.NewAuthorizationClient(dial(t, e.address)).Check(ctx, &authv3.CheckRequest{})
	if s, _ := status.FromError(err); s.Code() != codes.ResourceExhausted || !strings.HasPrefix(s.Message(), "agent_limit: ") {
		t.Errorf("gRPC: %v", err)
	}
}

// Envoy's local rate limit counts by what extauthz proved.
func TestEdgeLocalRateLimitByOrganization(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.startHere(t)
	e.startEnvoy(t, afterAuth(t, filterOf(t, "http_filters, after envoy.filters.http.ext_authz: local limits by organization")))
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t, "org_id", "org_warm"))
	for organization, allowed := range map[string]int{"org_a": 5, "org_b": 2, "org_c": 2} {
		var got []int
		for range allowed + 2 {
			got = append(got, e.get(t, "/orders/1", e.bearer(t, "org_id", organization)).Status)
		}
		for n, status := range got {
			if want := map[bool]int{true: 200, false: 429}[n < allowed]; status != want {
				t.Errorf("%s: %v, want %d allowed", organization, got, allowed)
				break
			}
		}
	}
}

// limitService is a rate limit service as Envoy knows it. It counts, by descriptor, against the limit that came along.
type limitService struct {
	rlsv3.UnimplementedRateLimitServiceServer
	mu    sync.Mutex
	asked map[string]uint32
	seen  map[string]string
}

func (s *limitService) ShouldRateLimit(_ context.Context, in *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}
	for _, d := range in.GetDescriptors() {
		var entries []string
		for _, e := range d.GetEntries() {
			entries = append(entries, e.GetKey()+"="+e.GetValue())
		}
		name := in.GetDomain() + " " + strings.Join(entries, " ")
		s.asked[name]++
		limit := d.GetLimit()
		s.seen[name] = fmt.Sprint(limit.GetRequestsPerUnit(), " ", limit.GetUnit())
		code := rlsv3.RateLimitResponse_OK
		if limit != nil && s.asked[name] > limit.GetRequestsPerUnit() {
			code, out.OverallCode = rlsv3.RateLimitResponse_OVER_LIMIT, rlsv3.RateLimitResponse_OVER_LIMIT
		}
		out.Statuses = append(out.Statuses, &rlsv3.RateLimitResponse_DescriptorStatus{Code: code})
	}
	return out, nil
}

// startLimitService returns the cluster for it.
func startLimitService(t *testing.T) (*limitService, string) {
	t.Helper()
	s := &limitService{asked: map[string]uint32{}, seen: map[string]string{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	rlsv3.RegisterRateLimitServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s, fmt.Sprintf(`  clusters:
    - name: ratelimit
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
      load_assignment:
        cluster_name: ratelimit
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: %d } } } }] }]
`, l.Addr().(*net.TCPAddr).Port)
}

// A rate limit service is told organization, agent and their limits.
func TestEdgeRateLimitService(t *testing.T) {
	t.Parallel()
	service, cluster := startLimitService(t)
	e := newEdge(t, "limits: {organization: {rate: 7, burst: 7}, organizations: {org_b: {rate: 0.05, burst: 2}}, agent: {rate: 1000, burst: 1000}, enforce: false, metadata: true}\n")
	e.startHere(t)
	e.startEnvoy(t, afterAuth(t, replaceOnce(t, filterOf(t, "http_filters, after envoy.filters.http.ext_authz: a rate limit service"), "timeout: 0.05s", "timeout: 5s")),
		func(doc string) string { return replaceOnce(t, doc, "  clusters:\n", cluster) })
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t, "org_id", "org_warm", "sub", "agt_warm"))
	var got []int
	for range 5 {
		got = append(got, e.get(t, "/orders/1", e.bearer(t, "org_id", "org_b")).Status)
	}
	if d := cmp.Diff([]int{200, 200, 200, 429, 429}, got); d != "" { // three a minute
		t.Error(d)
	}
	if a := e.get(t, "/orders/1", e.bearer(t, "org_id", "org_a", "sub", "agt_3")); a.Status != http.StatusOK {
		t.Errorf("another organization: %d", a.Status)
	}
	service.mu.Lock()
	defer service.mu.Unlock()
	for name, want := range map[string]string{
		"agents organization=org_a": "7 SECOND", "agents organization=org_b": "3 MINUTE", "agents agent=agt_1": "1000 SECOND", "agents agent=agt_3": "1000 SECOND",
	} {
		if service.seen[name] != want {
			t.Errorf("%s: the service was told %q, want %q", name, service.seen[name], want)
		}
	}
}
