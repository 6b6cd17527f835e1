package policies

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/policy"
)

// meshSources returns the mesh policy with the given data, YAML or JSON, in place of its own.
func meshSources(data string) []policy.Source {
	sources := []policy.Source{{Name: "data.yaml", Data: []byte(data)}}
	names, err := fs.Glob(Mesh(), "*.rego")
	if err != nil {
		panic(err) // the files are part of the program
	}
	for _, name := range names {
		content, err := fs.ReadFile(Mesh(), name)
		if err != nil {
			panic(err)
		}
		sources = append(sources, policy.Source{Name: name, Data: content})
	}
	return sources
}

func compileMesh(tb testing.TB, path, data string) *policy.Policy {
	tb.Helper()
	p, err := policy.Compile(context.Background(), meshSources(data), policy.Config{Path: path, EvalTimeout: patient})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// request is an input document as extauthz builds it.
func request(method, path string, identity policy.Value) policy.Value {
	text := policy.String
	headers := []policy.Member{}
	for _, name := range []string{":authority", ":method", ":path", "accept", "user-agent", "x-request-id", "x-forwarded-proto", "content-type"} {
		headers = append(headers, policy.Member{Name: name, Value: text("some value of " + name)})
	}
	peer := func(principal string) policy.Value {
		return policy.Object(
			policy.Member{Name: "address", Value: policy.Object(policy.Member{Name: "socketAddress", Value: policy.Object(
				policy.Member{Name: "address", Value: text("10.0.0.1")}, policy.Member{Name: "portValue", Value: policy.Int(8080)})})},
			policy.Member{Name: "principal", Value: text(principal)},
		)
	}
	return policy.Object(
		policy.Member{Name: "attributes", Value: policy.Object(
			policy.Member{Name: "source", Value: peer("")},
			policy.Member{Name: "destination", Value: peer("")},
			policy.Member{Name: "request", Value: policy.Object(policy.Member{Name: "http", Value: policy.Object(
				policy.Member{Name: "id", Value: text("1234567890")},
				policy.Member{Name: "method", Value: text(method)},
				policy.Member{Name: "path", Value: text(path)},
				policy.Member{Name: "host", Value: text("orders.example")},
				policy.Member{Name: "headers", Value: policy.Object(headers...)},
			)})},
			policy.Member{Name: "contextExtensions", Value: policy.Object(policy.Member{Name: "service", Value: text("orders")})},
		)},
		policy.Member{Name: "parsed_host", Value: policy.String("orders.example")},
		policy.Member{Name: "parsed_path", Value: policy.Strings(strings.Split(strings.TrimPrefix(path, "/"), "/"))},
		policy.Member{Name: "parsed_query", Value: policy.Object()},
		policy.Member{Name: "identity", Value: identity},
	)
}

func identity(organization string, scopes ...string) policy.Value {
	return policy.Object(
		policy.Member{Name: "subject", Value: policy.String("agt_1")},
		policy.Member{Name: "organizationId", Value: policy.String(organization)},
		policy.Member{Name: "issuer", Value: policy.String("https://issuer.example")},
		policy.Member{Name: "origin", Value: policy.String("local")},
		policy.Member{Name: "scopes", Value: policy.Strings(scopes)},
	)
}

// routes writes data with n routes, a third of them with a wildcard.
func routes(n int) string {
	var b strings.Builder
	b.WriteString("mesh:\n  services:\n    orders:\n      organizations: [org_a, org_b]\n      routes:\n")
	for i := range n / 3 {
		fmt.Fprintf(&b, "        things%d:\n", i)
		fmt.Fprintf(&b, "          /: {GET: {scopes: [things:read]}, POST: {scopes: [things:write]}}\n")
		fmt.Fprintf(&b, "          /*:\n            /: {GET: {scopes: [things:read]}}\n")
		fmt.Fprintf(&b, "            parts:\n              /: {GET: {scopes: [things:read, parts:read]}}\n")
	}
	return b.String()
}

// BenchmarkMesh shows that a decision of the mesh policy costs the same whatever the number of routes.
func BenchmarkMesh(b *testing.B) {
	caller := identity("org_b", "parts:read", "things:read")
	for _, n := range []int{20, 200, 2000} {
		data := routes(n)
		for _, path := range []string{"agentidp/authz/allow", "agentidp/authz/decision"} {
			p := compileMesh(b, path, data)
			for name, input := range map[string]policy.Value{
				"allow-1": request("GET", "/things3", caller),
				"allow-3": request("GET", "/things3/42/parts", caller),
				"allow-2": request("GET", "/things3/42", caller),
				"deny-2":  request("DELETE", "/things3/42", caller),
			} {
				b.Run(fmt.Sprintf("%s/%s/%d", strings.TrimPrefix(path, "agentidp/authz/"), name, n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := p.Eval(context.Background(), input); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkLongPath is what a stranger's path of 4,000 segments costs on a mesh with public routes.
func BenchmarkLongPath(b *testing.B) {
	for _, path := range []string{"agentidp/authz/allow", "agentidp/authz/decision"} {
		p := compileMesh(b, path, routes(20))
		for _, segments := range []int{13, 4000} {
			input := request("GET", "/healthz"+strings.Repeat("/a", segments-1), policy.Object())
			b.Run(fmt.Sprintf("%s/%d", strings.TrimPrefix(path, "agentidp/authz/"), segments), func(b *testing.B) {
				for b.Loop() {
					if _, err := p.Eval(context.Background(), input); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
