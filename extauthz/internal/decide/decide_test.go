package decide

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/internal/policy"
)

// fixed answers the same whatever the input, and keeps the input.
type fixed struct {
	result any
	err    error
	input  policy.Value
}

func (f *fixed) Eval(_ context.Context, input policy.Value) (any, error) {
	f.input = input
	return f.result, f.err
}

func parsed(t testing.TB, in *authv3.CheckRequest) *checkreq.Request {
	t.Helper()
	wire, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, refusal := checkreq.Parse(wire)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return r
}

func plain(t testing.TB) *checkreq.Request {
	t.Helper()
	return parsed(t, check("/a/b", nil))
}

func check(path string, headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "POST", Path: path, Headers: headers},
	}}}
}

// The document is what opa-envoy-plugin builds of the same request (its revision 07a1fd15b), and identity.
func TestInputDocument(t *testing.T) {
	t.Parallel()
	fields, err := structpb.NewStruct(map[string]any{"k": 1})
	if err != nil {
		t.Fatal(err)
	}
	in := check("/orders/a%20b?x=1&x=2", map[string]string{
		":path": "/orders/a%20b?x=1&x=2", "authorization": "Bearer secret", "content-type": "application/json", "x-agent-id": "forged",
	})
	in.Attributes.Source = &authv3.AttributeContext_Peer{
		Principal: "spiffe://example/a", Service: "caller", Labels: map[string]string{"app": "a"},
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711},
		}}},
	}
	in.Attributes.Destination = &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/s"}}}}
	in.Attributes.Request.Time = &timestamppb.Timestamp{Seconds: 1790000000, Nanos: 7}
	http := in.Attributes.Request.Http
	http.Id, http.Host, http.Scheme, http.Protocol, http.Size, http.Body = "r1", "shop.example", "https", "HTTP/2", 9, `{"a":[1]}`
	in.Attributes.ContextExtensions = map[string]string{"route": "r"}
	in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"f": fields}}
	in.Attributes.RouteMetadataContext = &corev3.Metadata{}
	in.Attributes.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "shop.example"}
	const want = `{
		"attributes": {
			"source": {"address": {"socketAddress": {"address": "10.0.0.1", "portValue": 4711}}, "principal": "spiffe://example/a", "service": "caller", "labels": {"app": "a"}},
			"destination": {"address": {"pipe": {"path": "/s"}}},
			"request": {
				"time": {"seconds": 1790000000, "nanos": 7},
				"http": {"id": "r1", "method": "POST", "path": "/orders/a%20b?x=1&x=2", "host": "shop.example", "scheme": "https", "protocol": "HTTP/2", "size": 9,
					"body": "{\"a\":[1]}",
					"headers": {":path": "/orders/a%20b?x=1&x=2", "authorization": "Bearer [masked]", "content-type": "application/json"}}
			},
			"contextExtensions": {"route": "r"}, "metadataContext": {"filterMetadata": {"f": {"k": 1}}}, "routeMetadataContext": {}, "tlsSession": {"sni": "shop.example"}
		},
		"parsed_host": "shop.example", "parsed_path": ["orders", "a b"], "parsed_query": {"x": ["1", "2"]}, "parsed_body": {"a": [1]}, "truncated_body": false,
		"source_principal": "spiffe://example/a", "version": {"ext_authz": "v3", "encoding": "protojson"}
	}`
	f := &fixed{result: true}
	if _, refusal, fault := Decide(context.Background(), f, Subject{Request: parsed(t, in)}); refusal != nil || fault != nil {
		t.Fatal(refusal, fault)
	}
	if d := cmp.Diff(tree(t, want), tree(t, f.input.String())); d != "" {
		t.Error(d)
	}
	if _, _, fault := Decide(context.Background(), f, Subject{Request: parsed(t, in), ShowAuth: true}); fault != nil || !strings.Contains(f.input.String(), "Bearer secret") {
		t.Errorf("the policy does not see the token it is to verify: %v", f.input)
	}
}

func tree(t testing.TB, doc string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	return v
}

func TestMask(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Bearer abc": "Bearer [masked]", "abc": "[masked]", "": "[masked]", strings.Repeat("s", 17) + " x": "[masked]",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestParsedBody(t *testing.T) {
	t.Parallel()
	const form = "multipart/form-data; boundary=B"
	parts := "--B\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nv\r\n--B\r\nContent-Disposition: form-data; name=\"j\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--B--\r\n"
	for name, c := range map[string]struct {
		contentType, body string
		headers           map[string]string
		want              string // JSON of parsed_body, "" for a refusal
		truncated         bool
	}{
		"no type":             {"", `{"a":1}`, nil, "null", false},
		"other type":          {"text/plain", `{"a":1}`, nil, "null", false},
		"gRPC":                {"application/grpc", "\x00\x00\x00\x00\x01a", nil, "null", false},
		"empty":               {"application/json", "", nil, "null", false},
		"object":              {"application/json; charset=utf-8", `{"a":1}`, nil, `{"a":1}`, false},
		"upper-case type":     {"Application/JSON", `{"a":1}`, nil, `{"a":1}`, false},
		"scalar":              {"application/json", `"a"`, nil, `"a"`, false},
		"duplicate member":    {"application/json", `{"a":1,"a":2}`, nil, "", false},
		"trailing bytes":      {"application/json", `{"a":1}{}`, nil, "", false},
		"not JSON":            {"application/json", `a`, nil, "", false},
		"too deep":            {"application/json", strings.Repeat("[", 40) + strings.Repeat("]", 40), nil, "", false},
		"number too long":     {"application/json", "1" + strings.Repeat("0", 400), nil, "", false},
		"form":                {"application/x-www-form-urlencoded", "a=1&a=2&b=%20", nil, `{"a":["1","2"],"b":[" "]}`, false},
		"form, bad escape":    {"application/x-www-form-urlencoded", "a=%zz", nil, "", false},
		"form, not UTF-8":     {"application/x-www-form-urlencoded", "a=%ff", nil, "", false},
		"multipart":           {form, parts, nil, `{"t":["v"],"j":[{"a":1}]}`, false},
		"multipart, cut":      {form, parts[:60], nil, "", false},
		"multipart, no bound": {"multipart/form-data", parts, nil, "null", false},
		"partial":             {"application/json", `{"a":`, map[string]string{"x-envoy-auth-partial-body": "true"}, "null", true},
		"shorter than said":   {"application/json", `{"a":1}`, map[string]string{"content-length": "100"}, "null", true},
	} {
		for _, raw := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " raw ", raw), func(t *testing.T) {
				t.Parallel()
				headers := map[string]string{}
				for n, v := range c.headers {
					headers[n] = v
				}
				if c.contentType != "" {
					headers["content-type"] = c.contentType
				}
				in := check("/a", headers)
				if raw {
					in.Attributes.Request.Http.RawBody = []byte(c.body)
				} else {
					in.Attributes.Request.Http.Body = c.body
				}
				got, truncated, refusal := parseBody(parsed(t, in), nil)
				if c.want == "" {
					if refusal == nil || refusal.Reason != checkreq.ReasonBody {
						t.Errorf("got %v, %v", got, refusal)
					}
					return
				}
				if refusal != nil || truncated != c.truncated {
					t.Fatalf("%v, truncated %v", refusal, truncated)
				}
				if d := cmp.Diff(tree(t, c.want), tree(t, got.String())); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// Decisions as json.Number and friends arrive from policy.Eval.
func TestDecisions(t *testing.T) {
	t.Parallel()
	body := "no"
	for name, c := range map[string]struct {
		result any
		want   *Decision
	}{
		"true":           {true, &Decision{Allowed: true}},
		"false":          {false, &Decision{}},
		"allowed":        {map[string]any{"allowed": true}, &Decision{Allowed: true}},
		"denied":         {map[string]any{"allowed": false}, &Decision{}},
		"unknown member": {map[string]any{"allowed": true, "x": 1}, &Decision{Allowed: true}},
		"denied with all": {map[string]any{
			"allowed": false, "http_status": json.Number("402"), "body": body,
			"reason": map[string]any{"code": "too_poor", "detail": "Pay first.", "required_scopes": []any{"pay"}},
		}, &Decision{Status: 402, Body: &body, Reason: Reasoning{"too_poor", "Pay first.", []string{"pay"}}}},
		// opa-envoy-plugin's manual states status and body always; they do not concern an OK.
		"allowed with a denial's members": {map[string]any{"allowed": true, "http_status": json.Number("200"), "body": "welcome"}, &Decision{Allowed: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, refusal, fault := Decide(context.Background(), &fixed{result: c.result}, Subject{Request: plain(t)})
			if refusal != nil || fault != nil {
				t.Fatal(refusal, fault)
			}
			got.Result = nil
			if d := cmp.Diff(c.want, got, cmp.Comparer(func(a, b checkresp.Changes) bool { return true })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecisionsThatAreNone(t *testing.T) {
	t.Parallel()
	with := func(allowed bool, name string, v any) map[string]any {
		return map[string]any{"allowed": allowed, name: v}
	}
	for name, result := range map[string]any{
		"nothing":                 nil,
		"number":                  json.Number("1"),
		"string":                  "true",
		"list":                    []any{true},
		"empty object":            map[string]any{},
		"allowed a string":        map[string]any{"allowed": "true"},
		"allowed a number":        map[string]any{"allowed": json.Number("1")},
		"allowed null":            map[string]any{"allowed": nil},
		"allow, not allowed":      map[string]any{"allow": true},
		"headers a string":        with(true, "headers", "a: b"),
		"headers a number inside": with(true, "headers", map[string]any{"a": json.Number("1")}),
		"headers list of strings": with(true, "headers", []any{"a"}),
		"header value in list":    with(true, "headers", map[string]any{"a": []any{true}}),
		"header forbidden":        with(true, "headers", map[string]any{"x-agent-id": "a"}),
		"header with line break":  with(true, "headers", map[string]any{"a": "b\r\nc: d"}),
		"host":                    with(true, "headers", map[string]any{"Host": "a"}),
		"path":                    with(true, "headers", map[string]any{":path": "/admin"}),
		"response header":         with(true, "response_headers_to_add", map[string]any{"content-length": "0"}),
		"removal of identity":     with(true, "request_headers_to_remove", []any{"X-Agent-Id"}),
		"removal of host":         with(true, "request_headers_to_remove", []any{"host"}),
		"removal a string":        with(true, "request_headers_to_remove", "a"),
		"removal of a number":     with(true, "request_headers_to_remove", []any{json.Number("1")}),
		"query a list":            with(true, "query_parameters_to_set", []any{"a"}),
		"query value":             with(true, "query_parameters_to_set", map[string]any{"a": json.Number("1")}),
		"query removal":           with(true, "query_parameters_to_remove", []any{""}),
		"metadata a list":         with(true, "dynamic_metadata", []any{}),
		"status a string":         with(false, "http_status", "403"),
		"status 200":              with(false, "http_status", json.Number("200")),
		"status a fraction":       with(false, "http_status", json.Number("403.5")),
		"status unknown":          with(false, "http_status", json.Number("599")),
		"status huge":             with(false, "http_status", json.Number("4030000000000000000000")),
		"body a number":           with(false, "body", json.Number("1")),
		"body too long":           with(false, "body", strings.Repeat("a", 3<<10+1)),
		"reason a string":         with(false, "reason", "a"),
		"reason code":             with(false, "reason", map[string]any{"code": "Not A Code"}),
		"reason detail":           with(false, "reason", map[string]any{"detail": json.Number("1")}),
		"reason scopes":           with(false, "reason", map[string]any{"required_scopes": "a"}),
		"reason scope":            with(false, "reason", map[string]any{"required_scopes": []any{"a b"}}),
		"reason, 17 scopes":       with(false, "reason", map[string]any{"required_scopes": strings17()}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, refusal, fault := Decide(context.Background(), &fixed{result: result}, Subject{Request: plain(t)})
			if got != nil || refusal != nil || fault == nil || fault.Reason != ReasonDecision {
				t.Errorf("got %+v, %v, %v", got, refusal, fault)
			}
		})
	}
}

func strings17() []any {
	s := make([]any, 17)
	for i := range s {
		s[i] = fmt.Sprint("s", i)
	}
	return s
}

func TestHeaderForms(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]any{
		"object":          map[string]any{"a": "1"},
		"list of values":  map[string]any{"a": []any{"1", "2"}},
		"list of objects": []any{map[string]any{"a": "1"}, map[string]any{"a": "2"}},
	} {
		for _, field := range []string{"headers", "response_headers_to_add"} {
			if _, _, fault := Decide(context.Background(), &fixed{result: map[string]any{"allowed": true, field: v}}, Subject{Request: plain(t)}); fault != nil {
				t.Errorf("%s %s: %v", field, name, fault)
			}
		}
	}
}

func TestEvaluationErrors(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]Reason{
		policy.ErrUndefined: ReasonUndefined, policy.ErrTimeout: ReasonTimeout, policy.ErrOverloaded: ReasonOverloaded, policy.ErrQuarantined: ReasonOverloaded,
		policy.ErrPanicked: ReasonFailed, policy.ErrEvaluation: ReasonFailed, context.Canceled: ReasonTimeout, errors.New("other"): ReasonFailed,
	} {
		got, _, fault := Decide(context.Background(), &fixed{result: true, err: fmt.Errorf("wrapped: %w", err)}, Subject{Request: plain(t)})
		if got != nil || fault == nil || fault.Reason != want || !errors.Is(fault, err) {
			t.Errorf("%v: %v, %v", err, got, fault)
		}
	}
}

// A policy as opa-envoy-plugin's users have it runs unchanged.
func TestPluginPolicyRunsUnchanged(t *testing.T) {
	t.Parallel()
	const source = `package envoy.authz
import input.attributes.request.http as http_request
import input.parsed_path
default allow := false
status_code := 200 if allow else := 401
response := {"allowed": allow, "headers": {"x-ext-auth-allow": "yes"}, "body": "Unauthorized Request", "http_status": status_code, "dynamic_metadata": {"foo": "bar"}}
allow if { http_request.method == "POST"; parsed_path == ["people"]; input.parsed_query.lang == ["en"]; input.parsed_body.id == "ext" }
`
	p, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte(source)}}, policy.Config{Path: "envoy/authz/response", EvalTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for body, want := range map[string]bool{`{"id":"ext"}`: true, `{"id":"other"}`: false} {
		in := check("/people?lang=en", map[string]string{"content-type": "application/json"})
		in.Attributes.Request.Http.Body = body
		d, refusal, fault := Decide(context.Background(), p, Subject{Request: parsed(t, in)})
		if refusal != nil || fault != nil || d.Allowed != want || !want && (d.Status != 401 || *d.Body != "Unauthorized Request") {
			t.Errorf("%s: %+v, %v, %v", body, d, refusal, fault)
		}
	}
}

func FuzzDecision(f *testing.F) {
	for _, s := range []string{
		"true", "false", "null", "1", `"a"`, `{"allowed":true}`, `{"allowed":false,"http_status":403,"reason":{"code":"a"}}`,
		`{"allowed":true,"headers":{"a":["b"]},"query_parameters_to_set":{"a":"b"},"dynamic_metadata":{"a":{"b":[1]}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		decoder := json.NewDecoder(strings.NewReader(doc))
		decoder.UseNumber()
		var result any
		if decoder.Decode(&result) != nil {
			return
		}
		d, err := parse(result)
		if (d == nil) == (err == nil) {
			t.Fatalf("%v, %v", d, err)
		}
		if d == nil || !d.Allowed {
			return
		}
		object, _ := result.(map[string]any)
		if allowed, _ := object["allowed"].(bool); result != any(true) && !allowed {
			t.Fatalf("%s allows", doc)
		}
	})
}

func BenchmarkInput(b *testing.B) {
	r := parsed(b, check("/orders/42?x=1", map[string]string{"authorization": "Bearer a", "accept": "*/*", "user-agent": "x", "x-request-id": "1"}))
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal, err := Input(Subject{Request: r}); refusal != nil || err != nil {
			b.Fatal(refusal, err)
		}
	}
}

// A denial may have each redirect and error that Envoy knows, which are all that the plugin accepts, and a body of what Envoy lets
// through as it is configured.
func TestDenialsOfThePlugin(t *testing.T) {
	t.Parallel()
	accepted := 0
	for code, name := range typev3.StatusCode_name {
		_, err := parse(map[string]any{"allowed": false, "http_status": json.Number(strconv.Itoa(int(code)))})
		if want := code >= 300; want != (err == nil) {
			t.Errorf("%d %s: %v", code, name, err)
		}
		if err == nil {
			accepted++
		}
	}
	if accepted < 40 {
		t.Errorf("only %d statuses", accepted)
	}
	for _, status := range []string{"420", "499", "520", "599"} { // the plugin answers an error, too
		if _, err := parse(map[string]any{"allowed": false, "http_status": json.Number(status)}); err == nil {
			t.Errorf("%s is accepted", status)
		}
	}
	for length, good := range map[int]bool{3 << 10: true, 3<<10 + 1: false} {
		if _, err := parse(map[string]any{"allowed": false, "body": strings.Repeat("x", length)}); (err == nil) != good {
			t.Errorf("a body of %d bytes: %v", length, err)
		}
	}
}
