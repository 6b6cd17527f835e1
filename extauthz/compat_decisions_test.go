package extauthz

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
)

// texts renders header options as "name: value" with the action, sorted.
func texts(headers []*corev3.HeaderValueOption) []string {
	var list []string
	for _, h := range headers {
		list = append(list, h.GetHeader().GetKey()+": "+h.GetHeader().GetValue()+" "+h.GetAppendAction().String())
	}
	slices.Sort(list)
	return list
}

func TestCompatObjectDecisionAllows(t *testing.T) {
	t.Parallel()
	e := drop(t, "envoy/authz/result", primerObject, nil)
	m := e.message(t, request("GET", "/staff", "x-staff", "yes"))
	ok := m.GetOkResponse()
	if ok == nil || m.GetStatus().GetCode() != int32(codes.OK) {
		t.Fatalf("got %v", m)
	}
	if d := cmp.Diff([]string{"x-checked-by: policy OVERWRITE_IF_EXISTS_OR_ADD", "x-many: a, b OVERWRITE_IF_EXISTS_OR_ADD"}, texts(ok.GetHeaders())); d != "" {
		t.Error("headers", d)
	}
	if d := cmp.Diff([]string{"x-served: 1 APPEND_IF_EXISTS_OR_ADD", "x-served: 2 APPEND_IF_EXISTS_OR_ADD"}, texts(ok.GetResponseHeadersToAdd())); d != "" {
		t.Error("response_headers_to_add", d)
	}
	if d := cmp.Diff([]string{"x-internal", "x-debug"}, ok.GetHeadersToRemove()); d != "" {
		t.Error("request_headers_to_remove", d)
	}
	var query []string
	for _, p := range ok.GetQueryParametersToSet() {
		query = append(query, p.GetKey()+"="+p.GetValue())
	}
	slices.Sort(query)
	if d := cmp.Diff([]string{"tag=a", "tag=b", "version=2"}, query); d != "" {
		t.Error("query_parameters_to_set", d)
	}
	if d := cmp.Diff([]string{"debug"}, ok.GetQueryParametersToRemove()); d != "" {
		t.Error("query_parameters_to_remove", d)
	}
	metadata := m.GetDynamicMetadata().AsMap()
	if id, _ := metadata["decision_id"].(string); len(id) != 36 {
		t.Errorf("decision_id %q", id)
	}
	delete(metadata, "decision_id")
	if d := cmp.Diff(map[string]any{"plan": "gold", "level": 3.0, "tags": []any{"a", true, nil}}, metadata); d != "" {
		t.Error("dynamic_metadata", d)
	}
}

func TestCompatObjectDecisionDenies(t *testing.T) {
	t.Parallel()
	e := drop(t, "envoy/authz/result", primerObject, nil)
	m := e.message(t, request("GET", "/staff"))
	denied := m.GetDeniedResponse()
	if denied == nil || m.GetStatus().GetCode() != int32(codes.PermissionDenied) || denied.GetStatus().GetCode() != 451 || denied.GetBody() != "not here" {
		t.Fatalf("got %v", m)
	}
	got := slices.DeleteFunc(texts(denied.GetHeaders()), func(s string) bool { return strings.HasPrefix(s, "content-type") })
	if d := cmp.Diff([]string{"x-checked-by: policy OVERWRITE_IF_EXISTS_OR_ADD", "x-many: a OVERWRITE_IF_EXISTS_OR_ADD", "x-many: b APPEND_IF_EXISTS_OR_ADD"}, got); d != "" {
		t.Error(d)
	}
	if m.GetDynamicMetadata().AsMap()["plan"] != "gold" {
		t.Errorf("dynamic_metadata %v", m.GetDynamicMetadata())
	}
}

// Whatever a policy returns, the answer is one of three.
func TestCompatDecisionForms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		decision string // Rego
		status   int
	}{
		"true":                                     {`true`, 200},
		"false":                                    {`false`, 403},
		"object, allowed":                          {`{"allowed": true}`, 200},
		"object, not allowed":                      {`{"allowed": false}`, 403},
		"object, a status of its own":              {`{"allowed": false, "http_status": 401}`, 401},
		"object, a redirect":                       {`{"allowed": false, "http_status": 302, "headers": {"location": "/login"}}`, 302},
		"headers in a list of objects":             {`{"allowed": true, "headers": [{"x-a": "1"}, {"x-a": "2", "x-b": ["3"]}]}`, 200},
		"empty members":                            {`{"allowed": true, "headers": {}, "response_headers_to_add": [], "request_headers_to_remove": [], "dynamic_metadata": {}}`, 200},
		"a number":                                 {`1`, 503},
		"a string":                                 {`"true"`, 503},
		"null":                                     {`null`, 503},
		"object without allowed":                   {`{"allow": true}`, 503},
		"allowed is a string":                      {`{"allowed": "true"}`, 503},
		"headers is a string":                      {`{"allowed": true, "headers": "x"}`, 503},
		"a header is a number":                     {`{"allowed": true, "headers": {"x-a": 1}}`, 503},
		"headers holds a list of lists":            {`{"allowed": true, "headers": [["x-a", "1"]]}`, 503},
		"response_headers_to_add is a string":      {`{"allowed": true, "response_headers_to_add": "x"}`, 503},
		"request_headers_to_remove is an object":   {`{"allowed": true, "request_headers_to_remove": {"x": 1}}`, 503},
		"request_headers_to_remove holds a number": {`{"allowed": true, "request_headers_to_remove": [1]}`, 503},
		"query_parameters_to_remove is a string":   {`{"allowed": true, "query_parameters_to_remove": "x"}`, 503},
		"query_parameters_to_set is a list":        {`{"allowed": true, "query_parameters_to_set": ["x"]}`, 503},
		"a query parameter is an object":           {`{"allowed": true, "query_parameters_to_set": {"x": {}}}`, 503},
		"dynamic_metadata is a list":               {`{"allowed": true, "dynamic_metadata": []}`, 503},
		"http_status is a string":                  {`{"allowed": false, "http_status": "403"}`, 503},
		"body is an object":                        {`{"allowed": false, "body": {}}`, 503},
		"unlike the plugin: a denial with 200":     {`{"allowed": false, "http_status": 200}`, 503},
		"unlike the plugin: moves the request":     {`{"allowed": true, "headers": {":path": "/admin"}}`, 503},
		"unlike the plugin: sets the host":         {`{"allowed": true, "headers": {"host": "elsewhere"}}`, 503},
		"unlike the plugin: splits a header":       {`{"allowed": true, "headers": {"x-a": "1\r\nx-b: 2"}}`, 503},
		"unlike the plugin: speaks for the agent":  {`{"allowed": true, "headers": {"x-agent-id": "agt_2"}}`, 503},
		"unlike the plugin: removes the identity":  {`{"allowed": true, "request_headers_to_remove": ["x-agent-id"]}`, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := drop(t, "envoy/authz/allow", "package envoy.authz\nallow := "+c.decision+"\n", nil)
			if got := e.ask(t, request("GET", "/x")); got.status != c.status {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// In place of the plugin's gRPC error, which Envoy's failure_mode_allow could turn into an OK, there is a 503.
func TestCompatEvaluationErrors(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"undefined":         "package envoy.authz\nallow if input.parsed_path == [\"never\"]\n",
		"conflict":          "package envoy.authz\nallow := true if input.parsed_path\nallow := false if input.version\n",
		"a failing builtin": "package envoy.authz\nallow := 1 / (count(input.parsed_path) - 1) == 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := drop(t, "envoy/authz/allow", source, nil)
			if got := e.ask(t, request("GET", "/x")); got.status != 503 || got.code != "cannot_decide" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

const denyingAll = "package envoy.authz\nallow := false\n"

func TestCompatPolicySwappedWhileRunning(t *testing.T) {
	t.Parallel()
	e := drop(t, "envoy/authz/allow", denyingAll, nil)
	if got := e.ask(t, request("GET", "/x")); got.status != 403 {
		t.Fatalf("got %+v", got)
	}
	e.setPolicy(compileAt(t, "envoy/authz/allow", "package envoy.authz\nallow := true\n", false))
	if got := e.ask(t, request("GET", "/x")); got.status != 200 {
		t.Errorf("got %+v", got)
	}
	e.setPolicy(nil)
	if got := e.ask(t, request("GET", "/x")); got.status != 503 {
		t.Errorf("got %+v", got)
	}
}

// A call whose context has ended is no decision of the policy: cannot decide, and logged like any other.
func TestCompatContextEnds(t *testing.T) {
	t.Parallel()
	for name, ended := range map[string]func() (context.Context, context.CancelFunc){
		"cancelled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, cancel
		},
		"expired": func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
		},
		"expires while the policy is asked": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 50*time.Millisecond)
		},
		"cancelled while the policy is asked": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			reason := reasonDeadline
			if strings.HasPrefix(name, "cancelled") {
				reason = reasonCancelled
			}
			var out bytes.Buffer
			log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1})
			e := drop(t, "envoy/authz/allow", "package envoy.authz\nallow if { n := numbers.range(1, 3000); some a in n; some b in n; a + b == -1 }\n", func(o *Options) { o.DecisionLog = log })
			ctx, cancel := ended()
			defer cancel()
			m, err := e.Check(ctx, request("GET", "/x"))
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, m); got.status != 503 || got.code != "cannot_decide" {
				t.Errorf("got %+v", got)
			}
			if err := log.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if lines := out.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, `"reason":"`+reason+`"`) && (reason == reasonCancelled || !strings.Contains(lines, `"reason":"policy_timeout"`)) {
				t.Errorf("log: %s", lines)
			}
		})
	}
}
