package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
	"github.com/agentidp/agentidp/manifests/envoy"
)

const authzFilter = "envoy.filters.http.ext_authz"

// unprotected lists what of a configuration lets a request pass that extauthz did not allow.
func unprotected(t *testing.T, doc string) (found []string) {
	t.Helper()
	var config struct {
		Resources struct {
			Listeners []struct {
				Name   string
				Chains []struct{ Filters []yaml.Node } `yaml:"filter_chains"`
			}
		} `yaml:"static_resources"`
	}
	if err := yaml.Unmarshal([]byte(doc), &config); err != nil {
		t.Fatal(err)
	}
	for _, l := range config.Resources.Listeners {
		for _, chain := range l.Chains {
			for _, filter := range chain.Filters {
				for _, what := range unprotectedFilter(&filter) {
					found = append(found, l.Name+": "+what)
				}
			}
		}
		if len(l.Chains) == 0 {
			found = append(found, l.Name+": no filter chain")
		}
	}
	return found
}

func unprotectedFilter(node *yaml.Node) (found []string) {
	var filter struct {
		Name  string
		Typed struct {
			HTTP []struct {
				Name  string
				Typed struct {
					FailureModeAllow bool      `yaml:"failure_mode_allow"`
					Enabled          yaml.Node `yaml:"filter_enabled"`
					DenyAtDisable    *struct {
						Default bool `yaml:"default_value"`
					} `yaml:"deny_at_disable"`
				} `yaml:"typed_config"`
			} `yaml:"http_filters"`
		} `yaml:"typed_config"`
	}
	if err := node.Decode(&filter); err != nil {
		return []string{err.Error()}
	}
	if filter.Name != "envoy.filters.network.http_connection_manager" {
		return []string{"bytes pass through " + filter.Name}
	}
	first := filter.Typed.HTTP[0]
	if first.Name != authzFilter {
		found = append(found, first.Name+" comes before ext_authz, or there is none")
	}
	if first.Typed.FailureModeAllow {
		found = append(found, "failure_mode_allow")
	}
	if first.Typed.Enabled.Kind != 0 && (first.Typed.DenyAtDisable == nil || !first.Typed.DenyAtDisable.Default) {
		found = append(found, "a filter that can be disabled without deny_at_disable")
	}
	return append(found, overrides(node, "")...)
}

// overrides finds what routes, virtual hosts and clusters of routes say about ext_authz, at any depth.
func overrides(node *yaml.Node, at string) (found []string) {
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if key == "typed_per_filter_config" && slices.ContainsFunc(value.Content, func(n *yaml.Node) bool { return n.Value == authzFilter }) {
			found = append(found, at+" overrides ext_authz")
		}
		found = append(found, overrides(value, at+"/"+key)...)
	}
	for _, element := range node.Content {
		if node.Kind == yaml.SequenceNode {
			found = append(found, overrides(element, at)...)
		}
	}
	return found
}

// perRoute is a part of a route.
func perRoute(config string) string {
	return fmt.Sprintf("route: { cluster: service, timeout: 15s }\n                          typed_per_filter_config: { %s: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, %s } }", authzFilter, config)
}

const shippedRoute = "route: { cluster: service, timeout: 15s }"

// Every route of the shipped configuration is decided. Each change here opens one, and the walk over the configuration finds it.
func TestEveryRouteIsProtected(t *testing.T) {
	t.Parallel()
	rendered, err := envoy.Render(envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: "/a", Upstream: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	doc := string(rendered)
	if found := unprotected(t, doc); found != nil {
		t.Errorf("the shipped configuration: %q", found)
	}
	for want, changed := range map[string]string{
		"overrides ext_authz":     replaceOnce(t, doc, shippedRoute, perRoute("disabled: true")),
		"virtual_hosts overrides": replaceOnce(t, doc, `domains: ["*"]`, `domains: ["*"]`+"\n                      typed_per_filter_config: { "+authzFilter+": { disabled: true } }"),
		"failure_mode_allow":      replaceOnce(t, doc, "failure_mode_allow: false", "failure_mode_allow: true"),
		"deny_at_disable":         replaceOnce(t, doc, "                      deny_at_disable:\n                        default_value: true\n                        runtime_key: agentidp.extauthz.deny_at_disable\n", ""),
		"comes before":            replaceOnce(t, doc, "                http_filters:\n", "                http_filters:\n                  - { name: envoy.filters.http.cors }\n"),
		"second: ":                replaceOnce(t, doc, "  listeners:\n", "  listeners:\n    - { name: second, filter_chains: [{ filters: [{ name: envoy.filters.network.http_connection_manager, typed_config: { http_filters: [{ name: envoy.filters.http.router }] } }] }] }\n"),
		"bytes pass":              replaceOnce(t, doc, "  listeners:\n", "  listeners:\n    - { name: tcp, filter_chains: [{ filters: [{ name: envoy.filters.network.tcp_proxy }] }] }\n"),
	} {
		if found := unprotected(t, changed); len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("want one finding with %q, got %q", want, found)
		}
	}
}

// Whatever a route does instead of going to the service, it does after the decision.
func TestRoutesOfAllKindsAreDecided(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		route  string
		status int // when it is allowed
	}{
		"direct response":    {`direct_response: { status: 418 }`, http.StatusTeapot},
		"redirect":           {`redirect: { host_redirect: elsewhere.example }`, http.StatusMovedPermanently},
		"rewrite":            {`route: { cluster: service, prefix_rewrite: "/admin" }`, http.StatusOK},
		"context extensions": {perRoute(`check_settings: { context_extensions: { tier: gold } }`), http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldTLS(t, nil, func(doc string) string { return replaceOnce(t, doc, shippedRoute, tc.route) })
			w.await(t, "/public", tc.status, "x-context-extensions: tier=admin")
			question := w.authorizer.question().GetAttributes()
			if got := question.GetRequest().GetHttp().GetPath(); got != "/public" {
				t.Errorf("asked about %q", got)
			}
			if got := question.GetContextExtensions(); name == "context extensions" && (len(got) != 1 || got["tier"] != "gold") {
				t.Errorf("context extensions %v", got)
			}
			reached := w.service.Count()
			w.authorizer.answer(deny("", "x-reason", "no"))
			if a := w.get(t, "/public"); a.Status != http.StatusForbidden || w.service.Count() != reached {
				t.Errorf("denied, and got %d", a.Status)
			}
		})
	}
}

// await repeats a request until it has the status: the first check also connects, and a busy machine may take more than 250 ms.
func (w *world) await(t *testing.T, target string, status int, headers ...string) {
	t.Helper()
	for range 40 {
		if w.get(t, target, headers...).Status == status {
			return
		}
	}
	t.Fatalf("%s never answers %d", target, status)
}

// A redirect that Envoy follows by itself is a new request: it is asked about, and may be denied.
func TestInternalRedirectsAreDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(doc string) string {
		return replaceOnce(t, doc, shippedRoute, "route: { cluster: service, timeout: 15s, internal_redirect_policy: { max_internal_redirects: 3 } }")
	})
	w.service.SetAnswer("HTTP/1.1 302 Found\r\nLocation: http://service.example/admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	w.authorizer.set(func(context.Context) (*authv3.CheckResponse, error) {
		if w.authorizer.path() == "/admin" {
			return deny("", "x-reason", "no"), nil
		}
		return allow(), nil
	})
	w.await(t, "/public", http.StatusForbidden)
	if w.authorizer.path() != "/admin" || w.service.Target() != "/public" {
		t.Errorf("asked last about %q, the service was reached for %q", w.authorizer.path(), w.service.Target())
	}
}

// An OK that comes after Envoy stopped waiting is none, and leaves no stream behind.
func TestLateAnswersAreNoPermission(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(doc string) string { return doc })
	late := make(chan struct{}) // not the deadline of ctx: an OK at the last moment may still be in time
	w.authorizer.set(func(context.Context) (*authv3.CheckResponse, error) { <-late; return allow(), nil })
	reached := w.service.Count()
	for range 10 {
		if a := w.get(t, "/orders"); a.Status != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", a.Status)
		}
	}
	close(late)
	if stats := w.admin(t, http.MethodGet, "/stats?filter=^cluster.extauthz.upstream_rq_active$"); !strings.Contains(stats, "upstream_rq_active: 0\n") {
		t.Errorf("streams are left: %s", stats)
	}
	w.authorizer.reset()
	w.await(t, "/afterwards", http.StatusOK)
	if strings.Contains(w.service.Got(), "/orders") || w.service.Count() > reached+1 {
		t.Errorf("the service was reached %d times, last by %q", w.service.Count()-reached, w.service.Got())
	}
}

// A server that takes its time: what comes within the 250 ms counts, what comes later is 503, and nothing of either is left behind.
func TestSlowAnswersUpToTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(doc string) string { return doc })
	var waiting atomic.Int64 // calls the server has not seen the end of
	for _, tc := range []struct {
		takes  time.Duration
		status []int
	}{
		{150 * time.Millisecond, []int{http.StatusOK}},
		{200 * time.Millisecond, []int{http.StatusOK}},
		{250 * time.Millisecond, []int{http.StatusOK, http.StatusServiceUnavailable}}, // who is first
		{300 * time.Millisecond, []int{http.StatusServiceUnavailable}},
		{10 * time.Second, []int{http.StatusServiceUnavailable}},
	} {
		t.Run(tc.takes.String(), func(t *testing.T) {
			w.authorizer.set(func(ctx context.Context) (*authv3.CheckResponse, error) {
				waiting.Add(1)
				defer waiting.Add(-1)
				timer := time.NewTimer(tc.takes)
				defer timer.Stop()
				select {
				case <-timer.C:
					return allow(), nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
			held := false
			for attempt := 0; attempt < 5 && !held; attempt++ { // a busy machine may add to what the server takes
				before, asked := w.service.Count(), time.Now()
				a := w.get(t, "/slow")
				took := time.Since(asked)
				if reached := w.service.Count() != before; reached != (a.Status == http.StatusOK) || !slices.Contains([]int{http.StatusOK, http.StatusServiceUnavailable}, a.Status) {
					t.Errorf("status %d, service reached: %v", a.Status, reached)
				}
				if a.Status == http.StatusServiceUnavailable && took < 240*time.Millisecond {
					t.Errorf("given up after %v", took)
				}
				held = slices.Contains(tc.status, a.Status)
			}
			if !held {
				t.Errorf("never answered %v", tc.status)
			}
		})
	}
	w.authorizer.reset()
	w.await(t, "/afterwards", http.StatusOK)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(exchangeTimeout); ; <-tick.C {
		stats := w.admin(t, http.MethodGet, "/stats?filter=^cluster.extauthz.upstream_rq_active$")
		if waiting.Load() == 0 && strings.Contains(stats, "upstream_rq_active: 0\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d calls and streams are left: %s", waiting.Load(), stats)
		}
	}
}

// What a client sends into the access log is text of its field, and ends no line.
func TestAdvisoryOfTheAccessLog(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2024-45808", testAccessLog)
}

func testAccessLog(t *testing.T) {
	w := newWorld(t, func(doc string) string { return doc })
	for _, raw := range []string{
		"GET /logged\"%2C\"status\":200 HTTP/1.1\r\nHost: service.example\r\nConnection: close\r\n\r\n",
		"GET /logged HTTP/1.1\r\nHost: a\",\"status\":200,\"x\":\"b\r\nConnection: close\r\n\r\n",
		"GET /logged HTTP/1.1\r\nHost: a\r\nConnection: close\r\nx-request-id: 1\",\"status\":\"200\x1b[2J\r\n\r\n",
		"GET /logged%0a{\"status\":200} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	} {
		w.authorizer.answer(deny("", "x-reason", "no"))
		rawhttp.Send(t, w.address, raw)
	}
	w.get(t, "/last")
	w.awaitLog(t, "/last")
	text, err := os.ReadFile(w.accessLog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Path   string
			Status int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Path != "/warm" && entry.Status == http.StatusOK {
			t.Errorf("%v in the log: %q", err, line)
		}
	}
}

// Once a virtual host names a host, each spelling of that host leads there: none of them falls through to the one for all others, whose
// service may find the host it was asked for in its own configuration.
func TestHostsAreRoutedByName(t *testing.T) {
	t.Parallel()
	const admin = "                    - { name: admin, domains: [admin.example], routes: [{ match: { prefix: / }, direct_response: { status: 204 } }] }\n"
	spellings := []string{"admin.example", "ADMIN.example", "admin.example.", "admin.example:80", "admin.example:8080", "Admin.Example.:80"}
	routed := func(doc string) string {
		return replaceOnce(t, doc, "                  virtual_hosts:\n", "                  virtual_hosts:\n"+admin)
	}
	for name, tc := range map[string]struct {
		edit      func(doc string) string
		strangers []string // spellings that lead elsewhere
	}{
		"as shipped": {routed, nil},
		"with ports": {func(doc string) string {
			return replaceOnce(t, routed(doc), "                  ignore_port_in_host_matching: true", "                 ")
		}, []string{"admin.example:80", "admin.example:8080", "Admin.Example.:80"}},
		"with trailing dots": {func(doc string) string {
			return replaceOnce(t, routed(doc), "                strip_trailing_host_dot: true\n", "")
		}, []string{"admin.example.", "Admin.Example.:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.edit)
			for _, host := range spellings {
				want := http.StatusNoContent
				if slices.Contains(tc.strangers, host) {
					want = http.StatusOK
				}
				if a := rawhttp.Send(t, w.address, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); a.Status != want {
					t.Errorf("%s: status %d, want %d", host, a.Status, want)
				}
			}
		})
	}
}
