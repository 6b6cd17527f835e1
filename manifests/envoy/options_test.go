package envoy_test

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

// option is one line (or block) of sidecar.yaml, and what it is for. holds must be true with the shipped file, and false once
// the line is changed: an option whose absence changes nothing has no place in the file.
type option struct {
	name    string
	line    string // as it stands in the file
	without string // what takes its place; "" takes it out
	holds   func(t *testing.T, w *world) bool
}

func options() []option {
	return slices.Concat(pathOptions(), headerOptions(), authorizerOptions(), replyOptions(), http2Options())
}

func TestEachOptionIsNeeded(t *testing.T) {
	t.Parallel()
	shipped := newWorld(t, func(doc string) string { return doc })
	for _, o := range options() {
		held := false
		for attempt := 0; attempt < 3 && !held; attempt++ { // on a busy machine one answer may come after 250 ms
			held = o.holds(t, shipped)
			shipped.authorizer.reset()
		}
		if !held {
			t.Errorf("%s: does not hold with the shipped configuration", o.name)
		}
	}
	for _, o := range options() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(doc string) string { return replaceOnce(t, doc, o.line, o.without) })
			if o.holds(t, w) {
				t.Errorf("holds also without %q: it is not what does it", o.line)
			}
		})
	}
}

func pathOptions() []option {
	return []option{
		{"dot segments are resolved before the decision", "                normalize_path: true\n", "", func(t *testing.T, w *world) bool {
			w.get(t, "/public/../admin")
			return w.authorizer.path() == "/admin" && w.service.Target() == "/admin"
		}},
		{"slashes are merged before the decision", "                merge_slashes: true\n", "", func(t *testing.T, w *world) bool {
			w.get(t, "//admin")
			return w.authorizer.path() == "/admin" && w.service.Target() == "/admin"
		}},
		{"encoded slashes are refused", "                path_with_escaped_slashes_action: REJECT_REQUEST\n", "", func(t *testing.T, w *world) bool {
			before := w.service.Count()
			for _, target := range []string{"/admin%2Fsecret", "/admin%2fsecret", "/admin%5Csecret"} {
				if w.get(t, target).Status != http.StatusBadRequest {
					return false
				}
			}
			return w.service.Count() == before
		}},
		{"hosts have no trailing dot", "                strip_trailing_host_dot: true\n", "", func(t *testing.T, w *world) bool {
			rawhttp.Send(t, w.address, "GET /dot HTTP/1.1\r\nHost: admin.example.:81\r\nConnection: close\r\n\r\n")
			return w.authorizer.question().GetAttributes().GetRequest().GetHttp().GetHost() == "admin.example:81" && w.service.Has("host", "admin.example:81")
		}},
	}
}

func headerOptions() []option {
	gone := func(name string) func(t *testing.T, w *world) bool {
		return func(t *testing.T, w *world) bool {
			w.get(t, "/"+name, name+": forged")
			return w.service.Target() == "/"+name && w.authorizer.values(name) == nil && !w.service.Has(name, "forged")
		}
	}
	remove := func(name string) option {
		return option{name + " of clients is removed", "                        - remove: " + name + "\n", "", gone(name)}
	}
	return []option{
		remove("x-original-url"), remove("x-rewrite-url"), remove("x-forwarded-host"), remove("x-forwarded-uri"), remove("forwarded"),
		{"identity headers of clients are removed before the decision", `                        - remove_on_match: { key_matcher: { safe_regex: { regex: "(?i)x[^a-z0-9]agent.*" } } } # x.agent.id is x-agent-id to CGI-like services` + "\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.answer(allow("x-agent-id", "ours"))
			w.get(t, "/", "x-agent-id: forged", "X-AGENT-ID: forged", "x-agent-id:", "X-Agent-Anything: forged", "X.Agent.Id: forged", "Connection: x-agent-id")
			return w.authorizer.values("x.agent.id") == nil && w.authorizer.values("x-agent-id") == nil && w.authorizer.values("x-agent-anything") == nil &&
				strings.Count(w.service.Got(), "x-agent-") == 1 && w.service.Has("x-agent-id", "ours")
		}},
		{"headers that steer Envoy are removed", "                        - remove_on_match: { key_matcher: { prefix: x-envoy-, ignore_case: true } }\n", "", gone("x-envoy-auth-partial-body")},
		{"names with underscores are refused", "                  headers_with_underscores_action: REJECT_REQUEST # many services read x_agent_id and x-agent-id alike\n", "", func(t *testing.T, w *world) bool {
			return w.get(t, "/", "x_agent_id: forged").Status == http.StatusBadRequest
		}},
		{"at most 100 headers", "max_headers_count: 100", "max_headers_count: 1000", func(t *testing.T, w *world) bool {
			return w.get(t, "/", slices.Repeat([]string{"x-many: 1"}, 101)...).Status == http.StatusRequestHeaderFieldsTooLarge
		}},
		{"at most 32 KiB of headers", "                max_request_headers_kb: 32 # a token has at most 8 KiB\n", "", func(t *testing.T, w *world) bool {
			return w.get(t, "/", "x-large: "+strings.Repeat("x", 40<<10)).Status == http.StatusRequestHeaderFieldsTooLarge
		}},
		{"the peer is who connected", "                use_remote_address: true\n", "", func(t *testing.T, w *world) bool {
			w.get(t, "/", "x-forwarded-for: 203.0.113.7")
			return w.service.Has("x-envoy-external-address", "127.0.0.1") && w.authorizer.question().GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress() == "127.0.0.1"
		}},
		{"no address is internal", "                  cidr_ranges: [{ address_prefix: 255.255.255.255, prefix_len: 32 }]\n", "                  cidr_ranges: []\n", func(t *testing.T, w *world) bool {
			w.get(t, "/")
			return !strings.Contains(w.service.Got(), "x-envoy-internal")
		}},
		{"certificates named by clients are not believed", "forward_client_cert_details: SANITIZE", "forward_client_cert_details: ALWAYS_FORWARD_ONLY", gone("x-forwarded-client-cert")},
	}
}

func authorizerOptions() []option {
	failing := func(context.Context) (*authv3.CheckResponse, error) {
		return nil, grpcstatus.Error(codes.Unavailable, "broken")
	}
	return []option{
		{"headers arrive raw", "                      encode_raw_headers: true # bytes as they came, repeated headers kept apart; the default joins them with commas\n", "", func(t *testing.T, w *world) bool {
			w.get(t, "/", "x-twice: a", "x-twice: b,c", "x-bytes: \xff\xfe")
			return slices.Equal(w.authorizer.values("x-twice"), []string{"a", "b,c"}) && slices.Equal(w.authorizer.values("x-bytes"), []string{"\xff\xfe"})
		}},
		{"an error is 503", "                      status_on_error: { code: ServiceUnavailable } # 503: an outage must not look like a denial (403, the default)\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.set(failing)
			return w.get(t, "/").Status == http.StatusServiceUnavailable
		}},
		{"an error is no permission", "failure_mode_allow: false", "failure_mode_allow: true", func(t *testing.T, w *world) bool {
			w.authorizer.set(failing)
			before := w.service.Count()
			return w.get(t, "/").Status >= 400 && w.service.Count() == before
		}},
		{"extauthz has 250 ms", "                        timeout: 0.25s # the default, 0.2 s, is too near what a cold cache takes on a busy node\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.set(func(ctx context.Context) (*authv3.CheckResponse, error) { <-ctx.Done(); return nil, ctx.Err() })
			code := w.get(t, "/").Status
			w.authorizer.mu.Lock()
			defer w.authorizer.mu.Unlock()
			return code == http.StatusServiceUnavailable && w.authorizer.deadline > 200*time.Millisecond
		}},
		{"a header with a line break fails the request", "                      validate_mutations: true # a header we set that is not clean fails the request instead of reaching the wire\n", "", func(t *testing.T, w *world) bool {
			for _, resp := range []*authv3.CheckResponse{allow("x-agent-name", "a\r\nx-admin: true"), deny("", "x-reason", "a\r\nset-cookie: b=c")} {
				w.authorizer.answer(resp)
				before := w.service.Count()
				if w.get(t, "/").Status != http.StatusInternalServerError || w.service.Count() != before {
					return false
				}
			}
			return true
		}},
		{"extauthz cannot change the path", "                        disallow_system: true\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.answer(allow(":path", "/admin"))
			w.get(t, "/public")
			return w.service.Target() != "/admin"
		}},
		{"a forbidden change fails the request", "                        disallow_is_error: true\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.answer(allow("host", "elsewhere.example"))
			return w.get(t, "/").Status == http.StatusInternalServerError
		}},
		{"the kill switch denies", "                      deny_at_disable:\n                        default_value: true\n                        runtime_key: agentidp.extauthz.deny_at_disable\n", "", func(t *testing.T, w *world) bool {
			w.admin(t, http.MethodPost, "/runtime_modify?agentidp.extauthz.enabled=0")
			defer w.admin(t, http.MethodPost, "/runtime_modify?agentidp.extauthz.enabled=100")
			before := w.service.Count()
			return w.get(t, "/").Status >= 400 && w.service.Count() == before
		}},
		{"there is a kill switch", "                      filter_enabled:\n                        default_value: { numerator: 100, denominator: HUNDRED }\n                        runtime_key: agentidp.extauthz.enabled\n", "", func(t *testing.T, w *world) bool {
			w.admin(t, http.MethodPost, "/runtime_modify?agentidp.extauthz.enabled=0")
			defer w.admin(t, http.MethodPost, "/runtime_modify?agentidp.extauthz.enabled=100")
			return w.get(t, "/").Status >= 400
		}},
	}
}

func deny(body string, headers ...string) *authv3.CheckResponse {
	denied := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: body}
	for i := 0; i < len(headers); i += 2 {
		denied.Headers = append(denied.Headers, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: headers[i], Value: headers[i+1]}})
	}
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
}

func replyOptions() []option {
	return []option{
		{"denials are short", "                      max_denied_response_body_bytes: 4096\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.answer(deny(strings.Repeat("x", 100<<10)))
			return len(w.get(t, "/").Body) == 4096
		}},
		{"answers have few headers", "                      enforce_response_header_limits: true\n", "", func(t *testing.T, w *world) bool {
			ok := allow()
			for range 300 {
				ok.GetOkResponse().ResponseHeadersToAdd = append(ok.GetOkResponse().ResponseHeadersToAdd, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-many", Value: "1"}})
			}
			w.authorizer.answer(ok)
			return w.get(t, "/").Status == http.StatusInternalServerError
		}},
		{"a denial is not the service's error", "                      charge_cluster_response_stats: false # a denial is not an error of the service\n", "", func(t *testing.T, w *world) bool {
			w.authorizer.answer(deny(""))
			w.get(t, "/")
			return !strings.Contains(w.admin(t, http.MethodGet, "/stats?usedonly&filter=cluster.service.upstream_rq_403"), "upstream_rq_403")
		}},
		{"errors of Envoy say nothing about the inside", "response_flag_filter: { flags: [UF, UH, UO, UC, UT, LR, UR, NR, NC, URX, DC, UPE, DPE, OM, SI, IH, DT, RFCF, NFCF] }", "response_flag_filter: { flags: [RL] }", func(t *testing.T, w *world) bool {
			w.service.SetDown(true)
			defer w.service.SetDown(false)
			a := w.get(t, "/")
			return a.Status == http.StatusServiceUnavailable && a.Header.Get("Content-Type") == "application/problem+json" &&
				!strings.Contains(a.Body, "upstream") && strings.Contains(a.Body, `"status":503`)
		}},
		{"the access log names the decision", `decision_id: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:decision_id)%"`, `other: ""`, func(t *testing.T, w *world) bool {
			resp := allow()
			resp.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{"decision_id": structpb.NewStringValue("dec-1")}}
			w.authorizer.answer(resp)
			w.get(t, "/logged?token=canary", "authorization: Bearer canary")
			log := w.awaitLog(t, "/logged")
			return strings.Contains(log, `"decision_id":"dec-1"`) && !strings.Contains(log, "canary")
		}},
	}
}

// awaitLog waits until the access log, which Envoy flushes when it sees fit, has a line with the word.
func (w *world) awaitLog(t *testing.T, word string) string {
	t.Helper()
	w.admin(t, http.MethodPost, "/reopen_logs") // flushes
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(exchangeTimeout); time.Now().Before(deadline); <-tick.C {
		text, err := os.ReadFile(w.accessLog)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, word) {
				return line
			}
		}
	}
	t.Fatalf("no line with %q in the access log", word)
	return ""
}
