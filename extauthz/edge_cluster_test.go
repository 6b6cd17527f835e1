package extauthz_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/manifests/envoy"
)

// startEnvoyBefore puts the real Envoy in front of processes on ports, which it asks for their health. transport is a transport_socket in
// one line, or nothing.
func (e *edge) startEnvoyBefore(t *testing.T, transport string, hosts ...string) {
	t.Helper()
	doc, err := envoy.Render(envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: e.socket, Upstream: e.service.Address})
	if err != nil {
		t.Fatal(err)
	}
	var endpoints strings.Builder
	for _, h := range hosts {
		host, port, err := net.SplitHostPort(h)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&endpoints, "\n              - endpoint: { address: { socket_address: { address: %s, port_value: %s } } }", host, port)
	}
	text := string(doc)
	for _, change := range [][2]string{
		{"timeout: 0.25s # ", "timeout: 5s # "}, // see startEnvoy
		{fmt.Sprintf("\n              - endpoint:\n                  address: { pipe: { path: %q } } # CHANGE: the socket of extauthz", e.socket), endpoints.String()},
		{"    - name: extauthz\n      type: STATIC\n      connect_timeout: 0.25s\n", `    - name: extauthz
      type: STATIC
      connect_timeout: 5s
      common_lb_config: { healthy_panic_threshold: { value: 0 } } # one of two is enough
      health_checks:
        - { timeout: 5s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, grpc_health_check: {} }
` + transport},
	} {
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("%q is not where this test looks for it", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	e.address = testkit.Envoy(t, []byte(text)).Listener(t, "ingress")
}
