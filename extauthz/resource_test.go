package extauthz

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
)

const (
	ordersMetadata     = wellKnownResource + "/mcp"
	ordersMetadataFull = "https://orders.example" + ordersMetadata
)

func publishing(o *Options) {
	o.Resource = &settings.Resource{
		Identifier: "https://orders.example/mcp", AuthorizationServers: []string{"https://issuer.example/org/a"},
		ScopesSupported: []string{"orders.read"}, Documentation: "https://orders.example/docs", Name: "Orders",
	}
}

// published asks as Envoy does, through Guard.
func (e *edge) published(t *testing.T, in *authv3.CheckRequest) (status int, headers map[string]string, body string) {
	t.Helper()
	wire, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := e.Guard(context.Background(), func(ctx context.Context) []byte { return e.Server.Check(ctx, wire).Wire() })
	m := &authv3.CheckResponse{}
	if err := proto.Unmarshal(out, m); err != nil {
		t.Fatal(err)
	}
	if m.GetOkResponse() != nil {
		return 0, nil, ""
	}
	headers = map[string]string{}
	for _, h := range m.GetDeniedResponse().GetHeaders() {
		headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return int(m.GetDeniedResponse().GetStatus().GetCode()), headers, m.GetDeniedResponse().GetBody()
}

func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, publishing)
	e.stages.decide = nil // the policy is not asked
	preflight := []string{"origin", "https://app.example", "access-control-request-method", "GET", "access-control-request-headers", "mcp-protocol-version"}
	for name, c := range map[string]struct {
		in     *authv3.CheckRequest
		status int
	}{
		"at the resource's place":    {request("GET", ordersMetadata), 200},
		"at the root":                {request("GET", wellKnownResource), 200},
		"HEAD":                       {request("HEAD", ordersMetadata), 200},
		"with a query":               {request("GET", ordersMetadata+"?x=1"), 200},
		"with a bad token":           {request("GET", ordersMetadata, "authorization", "Bearer a.b.c"), 200},
		"with two tokens":            {request("GET", ordersMetadata, "authorization", "Bearer a", "authorization", "Bearer b"), 400},
		"POST":                       {request("POST", ordersMetadata), 405},
		"preflight":                  {request("OPTIONS", ordersMetadata, preflight...), 204},
		"OPTIONS without an origin":  {request("OPTIONS", ordersMetadata, preflight[2:]...), 405},
		"OPTIONS without a method":   {request("OPTIONS", ordersMetadata, preflight[:2]...), 405},
		"of another resource":        {request("GET", wellKnownResource+"/other"), 401},
		"below the document":         {request("GET", ordersMetadata+"/x"), 401},
		"a longer name":              {request("GET", ordersMetadata+"x"), 401},
		"in upper case":              {request("GET", strings.ToUpper(ordersMetadata)), 401},
		"with a slash at the end":    {request("GET", ordersMetadata+"/"), 401},
		"in two slashes":             {request("GET", "/"+ordersMetadata), 400},
		"asked for by a gRPC client": {request("GET", ordersMetadata, "content-type", "application/grpc"), 401},
	} {
		status, headers, body := e.published(t, c.in)
		if status != c.status {
			t.Errorf("%s: status %d, want %d (%s)", name, status, c.status, body)
		}
		if status == 405 && headers["allow"] != "GET, HEAD" {
			t.Errorf("%s: headers %v", name, headers)
		}
		if status != 200 {
			continue
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"resource": "https://orders.example/mcp", "authorization_servers": []any{"https://issuer.example/org/a"}, "scopes_supported": []any{"orders.read"},
			"bearer_methods_supported": []any{"header"}, "dpop_signing_alg_values_supported": []any{"ES256", "EdDSA", "PS256"},
			"resource_name": "Orders", "resource_documentation": "https://orders.example/docs",
		}
		if diff := cmp.Diff(want, got); diff != "" || headers["content-type"] != "application/json" || headers["access-control-allow-origin"] != "*" {
			t.Errorf("%s: %v %s", name, headers, diff)
		}
	}
	without := newEdge(t, ordersPolicy, nil)
	if status, headers, _ := without.published(t, request("GET", wellKnownResource)); status != 401 || strings.Contains(headers["www-authenticate"], "resource_metadata") {
		t.Errorf("not configured: status %d, %v", status, headers)
	}
}

// Every challenge says where the metadata is, for each scheme it offers.
func TestChallengesNameTheMetadata(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, publishing)
	sign := e.signer(t)
	parameter := `resource_metadata="` + ordersMetadataFull + `"`
	for name, c := range map[string]struct {
		in    *authv3.CheckRequest
		times int
	}{
		"no token":           {request("GET", "/orders"), 2},
		"bad token":          {request("GET", "/orders", "authorization", "Bearer a.b.c"), 1},
		"DPoP without proof": {request("GET", "/orders", "authorization", "DPoP a.b.c"), 1},
		"two schemes in one": {request("GET", "/orders", "authorization", "Bearer a, Bearer b"), 1},
		"scope missing":      {request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"scope": "x"})), 1},
	} {
		if _, headers, _ := e.published(t, c.in); strings.Count(headers["www-authenticate"], parameter) != c.times {
			t.Errorf("%s: %q, want %s %d times", name, headers["www-authenticate"], parameter, c.times)
		}
	}
}

// The document is not an OK, and no other answer with its status passes.
func TestGuardKnowsTheDocumentAndNoOther(t *testing.T) {
	t.Parallel()
	e, other := newEdge(t, ordersPolicy, publishing), newEdge(t, ordersPolicy, func(o *Options) {
		publishing(o)
		o.Resource.Identifier = "https://evil.example/"
	})
	for name, c := range map[string]struct {
		answer checkresp.Answer
		status int
	}{
		"ours":      {checkresp.Direct(e.resource.document, "d"), 200},
		"another's": {checkresp.Direct(other.resource.document, "d"), 503},
	} {
		out := e.Guard(context.Background(), func(context.Context) []byte { return c.answer.Wire() })
		m := &authv3.CheckResponse{}
		if err := proto.Unmarshal(out, m); err != nil || int(m.GetDeniedResponse().GetStatus().GetCode()) != c.status || m.GetOkResponse() != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// RFC 9728 s3.1: the well-known name goes between host and path, and a slash that ends the host goes away.
func TestMetadataAddress(t *testing.T) {
	t.Parallel()
	for identifier, want := range map[string]string{
		"https://a.example":           "https://a.example/.well-known/oauth-protected-resource",
		"https://a.example/":          "https://a.example/.well-known/oauth-protected-resource",
		"https://a.example/mcp":       "https://a.example/.well-known/oauth-protected-resource/mcp",
		"https://a.example/mcp/":      "https://a.example/.well-known/oauth-protected-resource/mcp/",
		"https://a.example:8443/a/b":  "https://a.example:8443/.well-known/oauth-protected-resource/a/b",
		"http://localhost:8080/tools": "http://localhost:8080/.well-known/oauth-protected-resource/tools",
	} {
		p, err := publish(&settings.Resource{Identifier: identifier})
		if err != nil || p.address != want || !p.has(&checkreq.Request{Method: "GET", Path: strings.TrimPrefix(want[strings.Index(want, "://")+3:], strings.Split(want, "/")[2])}) {
			t.Errorf("%s: %+v, %v; want %s", identifier, p, err, want)
		}
	}
}
