package decide

import (
	"context"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/internal/policy"
)

// The document a policy gets holds what it reads, and what it decides does not depend on the rest being there.
func TestLeanInput(t *testing.T) {
	t.Parallel()
	in := check("/orders/42?x=1", map[string]string{"authorization": "Bearer a", "x-a": "1", "content-type": "application/json"})
	in.Attributes.Request.Http.Body = "{\"a\":1}"
	in.Attributes.Source = &authv3.AttributeContext_Peer{Principal: "spiffe://example/a"}
	in.Attributes.ContextExtensions = map[string]string{"route": "r"}
	r := parsed(t, in)
	for rule, absent := range map[string][]string{
		`input.parsed_path[0] == "orders"`:                                                               {"attributes", "parsed_query", "parsed_body"},
		`input.attributes.request.http.headers["x-a"] == "1"`:                                            {"authorization", "parsed_path", "source\""},
		`input.attributes.request.http.method == "POST"`:                                                 {"headers", "body"},
		`input.parsed_body.a == 1`:                                                                       {"attributes"},
		`input.attributes.contextExtensions.route == "r"`:                                                {"source\"", "parsed_path"},
		`input.attributes.source.principal == "spiffe://example/a"`:                                      {"request"},
		`not input.attributes.request.http.headers["x-b"]; input.attributes.request.http.headers`:        nil,
		`object.get(input, ["attributes", "request", "http", "method"], "") == "POST"`:                   nil,
		`some k, v in input.attributes.request.http.headers; k == "x-a"; v == "1"`:                       {"parsed_path"},
		`count(input.attributes.request.http.headers) == 3`:                                              {"parsed_path"},
		`http := input.attributes.request.http; not http.headers.nothing; http.path == "/orders/42?x=1"`: nil,
		`name := concat("-", ["x", "a"]); input.attributes.request.http.headers[name] == "1"`:            {"parsed_path"},
		`not input.identity`:                  {"attributes"},
		`not input.attributes.tlsSession.sni`: {"request"},
		`input.parsed_query.x == ["1"]`:       {"attributes"},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			source := "package p\nimport rego.v1\ndefault allow := false\nallow if { " + rule + " }\n"
			p, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte(source)}}, policy.Config{Path: "p/allow", EvalTimeout: 2 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			recorder := &recording{Policy: p}
			d, refusal, fault := Decide(context.Background(), recorder, Subject{Request: r})
			if refusal != nil || fault != nil || !d.Allowed {
				t.Errorf("%+v, %v, %v with %v", d, refusal, fault, recorder.input)
			}
			for _, name := range absent {
				if strings.Contains(recorder.input.String(), name) {
					t.Errorf("%s was built for nothing: %v", name, recorder.input)
				}
			}
			full, _, err := Input(Subject{Request: r})
			if err != nil {
				t.Fatal(err)
			}
			if allowed, err := p.Eval(context.Background(), full); err != nil || allowed != any(true) {
				t.Errorf("with the full input: %v, %v", allowed, err)
			}
		})
	}
}

// recording keeps the input a policy was given.
type recording struct {
	*policy.Policy
	input policy.Value
}

func (r *recording) Eval(ctx context.Context, input policy.Value) (any, error) {
	r.input = input
	return r.Policy.Eval(ctx, input)
}

// A body nobody reads is not parsed, so a bad one is no reason to refuse.
func TestBodyNobodyReads(t *testing.T) {
	t.Parallel()
	in := check("/a", map[string]string{"content-type": "application/json"})
	in.Attributes.Request.Http.Body = "not JSON"
	for rule, refused := range map[string]bool{"true": false, "input.parsed_body == null": true, "input.truncated_body == false": true} {
		p, err := policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte("package p\nallow if { " + rule + " }\n")}}, policy.Config{Path: "p/allow", EvalTimeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if _, refusal, fault := Decide(context.Background(), p, Subject{Request: parsed(t, in)}); fault != nil || (refusal != nil) != refused {
			t.Errorf("%s: %v, %v", rule, refusal, fault)
		}
	}
}
