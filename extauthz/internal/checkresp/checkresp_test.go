package checkresp

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func headersOf(options []*corev3.HeaderValueOption) map[string]string {
	out := map[string]string{}
	for _, o := range options {
		out[o.GetHeader().GetKey()] += o.GetHeader().GetValue()
	}
	return out
}

// message decodes an answer as Envoy does.
func (a Answer) message(t interface{ Fatal(...any) }) *authv3.CheckResponse {
	m := &authv3.CheckResponse{}
	if err := proto.Unmarshal(a.Wire(), m); err != nil {
		t.Fatal(err)
	}
	if allows, explicit := Explicit(a.Wire()); !explicit || allows != a.Allowed() {
		t.Fatal("not explicit on the wire:", m)
	}
	return m
}

func TestZeroAnswerIsADenial(t *testing.T) {
	t.Parallel()
	var zero Answer
	m := zero.message(t)
	if zero.Allowed() || !explicit(m) || m.GetStatus().GetCode() == 0 || m.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("got %v", m)
	}
	if b, err := proto.Marshal(m); err != nil || len(b) == 0 {
		t.Errorf("the zero answer is empty on the wire: %v", err)
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	var changes Changes
	for _, err := range []error{
		changes.SetHeader("X-Tenant", "a", "b"),
		changes.AddResponseHeader("set-cookie", "a=1", "b=2"),
		changes.RemoveHeader("Authorization"),
		changes.SetQueryParameter("q", "1"),
		changes.RemoveQueryParameter("debug"),
		changes.SetMetadata(map[string]any{"decision_id": "forged", "tier": "gold", "n": json.Number("3"), "l": []any{nil, true}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a := Allow(Grant{
		DecisionID: "d-1",
		Caller: new(Describe(Agent{
			ID: "agt_1", Organization: "org_a", Issuer: "https://i.example", ClientID: "c", Name: "Zoë 1%", Origin: "local",
			Scopes: []string{"read", "not a token", "wr\"ite", "write"},
		})),
		Strip:   []string{"x-agent-id", "x_agent_id", "x-agent-role"},
		Changes: changes,
	})
	m := a.message(t)
	if !a.Allowed() || !explicit(m) || m.GetStatus() == nil || m.GetStatus().GetCode() != 0 {
		t.Fatalf("not an explicit OK: %v", m)
	}
	ok := m.GetOkResponse()
	want := map[string]string{
		"x-agent-id": "agt_1", "x-agent-organization": "org_a", "x-agent-issuer": "https://i.example", "x-agent-client-id": "c",
		"x-agent-name": "Zo%C3%AB%201%25", "x-agent-origin": "local", "x-agent-scopes": "read write", "x-tenant": "a, b",
	}
	if d := cmp.Diff(want, headersOf(ok.GetHeaders())); d != "" {
		t.Error(d)
	}
	for _, h := range ok.GetHeaders() {
		if h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%v may leave the client's value in place", h)
		}
	}
	if d := cmp.Diff([]string{"authorization", "x_agent_id", "x-agent-role"}, ok.GetHeadersToRemove()); d != "" {
		t.Error(d)
	}
	if len(ok.GetResponseHeadersToAdd()) != 2 || len(ok.GetQueryParametersToSet()) != 1 || len(ok.GetQueryParametersToRemove()) != 1 {
		t.Errorf("got %v", ok)
	}
	wantMetadata := map[string]any{
		"decision_id": "d-1", "agent_id": "agt_1", "organization_id": "org_a", "tier": "gold", "n": 3.0, "l": []any{nil, true},
	}
	if d := cmp.Diff(wantMetadata, m.GetDynamicMetadata().AsMap()); d != "" {
		t.Error(d)
	}
}

func TestAllowWithoutIdentitySetsNoIdentity(t *testing.T) {
	t.Parallel()
	ok := Allow(Grant{Strip: []string{"x-agent-id"}}).message(t).GetOkResponse()
	if len(ok.GetHeaders()) != 0 || cmp.Diff([]string{"x-agent-id"}, ok.GetHeadersToRemove()) != "" {
		t.Errorf("got %v", ok)
	}
}

// What the policy sets takes the place of what is kept from the service, and of that alone.
func TestWhatThePolicySetsIsNotStripped(t *testing.T) {
	t.Parallel()
	var changes Changes
	if err := changes.SetHeader("Authorization", "Basic c2VydmljZQ=="); err != nil {
		t.Fatal(err)
	}
	ok := Allow(Grant{Strip: []string{"authorization", "dpop"}, Changes: changes}).message(t).GetOkResponse()
	if d := cmp.Diff(map[string]string{"authorization": "Basic c2VydmljZQ=="}, headersOf(ok.GetHeaders())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"dpop"}, ok.GetHeadersToRemove()); d != "" {
		t.Error(d)
	}
}

// An unknown or unspeakable part of an identity is absent, and the client's copy of it does not take its place.
func TestAbsentIdentityHeadersAreRemoved(t *testing.T) {
	t.Parallel()
	ok := Allow(Grant{
		Caller: new(Describe(Agent{ID: "agt_1", Organization: strings.Repeat("ö", 600)})),
		Strip:  []string{"x-agent-client-id", "x-agent-id", "x-agent-issuer", "x-agent-name", "x-agent-organization"},
	}).message(t).GetOkResponse()
	if d := cmp.Diff(map[string]string{"x-agent-id": "agt_1"}, headersOf(ok.GetHeaders())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"x-agent-client-id", "x-agent-issuer", "x-agent-name", "x-agent-organization"}, ok.GetHeadersToRemove()); d != "" {
		t.Error(d)
	}
}

func TestIdentifiersAreEncodedWithoutCollision(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"agt_1": "agt_1", "агент": "%D0%B0%D0%B3%D0%B5%D0%BD%D1%82", "did:web:a%3A1": "did:web:a%253A1", "a b": "a%20b", "a\r\nx: y": "a%0D%0Ax:%20y",
	} {
		if got := headersOf(Allow(Grant{Caller: new(Describe(Agent{ID: id}))}).message(t).GetOkResponse().GetHeaders())[HeaderID]; got != want {
			t.Errorf("%q became %q", id, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if a != b && exact(a) == exact(b) && exact(a) != "" {
			t.Fatalf("%q and %q look the same", a, b)
		}
		if decoded, err := url.PathUnescape(exact(a)); len(a) < 512 && (err != nil || decoded != a) {
			t.Fatalf("%q became %q", a, decoded)
		}
	})
}

func TestLongValuesStayBounded(t *testing.T) {
	t.Parallel()
	scopes := make([]string, 500)
	for i := range scopes {
		scopes[i] = strings.Repeat("s", 20)
	}
	headers := headersOf(Allow(Grant{Caller: new(Describe(Agent{ID: "a", Name: strings.Repeat("é", 300), Scopes: scopes}))}).message(t).GetOkResponse().GetHeaders())
	if n := len(headers[HeaderName]); n > nameBytesMax || n%6 != 0 {
		t.Errorf("name of %d bytes", n)
	}
	if s := headers[HeaderScopes]; len(s) > scopesBytesMax || strings.HasSuffix(s, " ") || len(s) < scopesBytesMax-50 {
		t.Errorf("scopes of %d bytes", len(s))
	}
}

func TestDeny(t *testing.T) {
	t.Parallel()
	a := Deny(Denial{
		DecisionID: "d-1", Status: 403, Code: "insufficient_scope", Detail: `needs "orders"`,
		Challenge: &Challenge{Error: "insufficient_scope", Scopes: []string{"orders.read", `bad"scope`, "orders.write"}},
	})
	m := a.message(t)
	if a.Allowed() || !explicit(m) || m.GetStatus().GetCode() != 7 || m.GetDeniedResponse().GetStatus().GetCode() != 403 {
		t.Fatalf("got %v", m)
	}
	want := map[string]string{
		"content-type":     "application/problem+json",
		"www-authenticate": `Bearer realm="agentidp", error="insufficient_scope", error_description="needs orders", scope="orders.read orders.write"`,
	}
	if d := cmp.Diff(want, headersOf(m.GetDeniedResponse().GetHeaders())); d != "" {
		t.Error(d)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(m.GetDeniedResponse().GetBody()), &body); err != nil {
		t.Fatal(err)
	}
	wantBody := map[string]any{
		"type": "about:blank", "title": "Forbidden", "status": 403.0, "detail": `needs "orders"`, "code": "insufficient_scope", "decisionId": "d-1",
	}
	if d := cmp.Diff(wantBody, body); d != "" {
		t.Error(d)
	}
	if got := m.GetDynamicMetadata().AsMap()["decision_id"]; got != "d-1" {
		t.Errorf("metadata %v", got)
	}
}

func TestDenyForms(t *testing.T) {
	t.Parallel()
	bare := Deny(Denial{Status: 401, Code: "credential_missing", Challenge: &Challenge{}}).message(t)
	if got := headersOf(bare.GetDeniedResponse().GetHeaders())["www-authenticate"]; got != `Bearer realm="agentidp"` || bare.GetStatus().GetCode() != 16 {
		t.Errorf("bare challenge %q, %v", got, bare.GetStatus())
	}
	outage := Deny(Unavailable("d-2")).message(t)
	if outage.GetDeniedResponse().GetStatus().GetCode() != 503 || headersOf(outage.GetDeniedResponse().GetHeaders())["retry-after"] != "1" ||
		outage.GetErrorResponse() != nil {
		t.Errorf("outage %v", outage)
	}
	grpc := Deny(Denial{Status: 403, Code: "policy_denied", Detail: "no", DecisionID: "d", GRPC: true}).message(t).GetDeniedResponse()
	if h := headersOf(grpc.GetHeaders()); len(h) != 2 || h["grpc-status"] != "7" || h["grpc-status-details-bin"] == "" || grpc.GetBody() != "policy_denied: no (decision d)" {
		t.Errorf("gRPC %v", grpc)
	}
	var changes Changes
	if err := errors.Join(changes.SetHeader("Location", "https://login.example/"), changes.SetHeader("set-cookie", "a=1", "b=2")); err != nil {
		t.Fatal(err)
	}
	text := "see other"
	redirect := Deny(Denial{Status: 302, Body: &text, Changes: changes}).message(t).GetDeniedResponse()
	if redirect.GetStatus().GetCode() != 302 || redirect.GetBody() != text || headersOf(redirect.GetHeaders())["location"] == "" ||
		headersOf(redirect.GetHeaders())["set-cookie"] != "a=1b=2" || len(redirect.GetHeaders()) != 3 {
		t.Errorf("redirect %v", redirect)
	}
	for _, status := range []int{-1, 0, 1, 99, 100, 200, 204, 299, 600, 799, 1 << 30} {
		if got := Deny(Denial{Status: status}).message(t); !explicit(got) || got.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Errorf("status %d became %v", status, got)
		}
	}
}

// Whatever is asked of the two constructors, the answer is explicit, small, and without bytes that could leave a header.
func TestAnswersAreAlwaysExplicit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		d := Denial{
			DecisionID: text.Draw(t, "id"), Status: rapid.IntRange(-10, 700).Draw(t, "status"), Code: text.Draw(t, "code"),
			Detail: text.Draw(t, "detail"), GRPC: rapid.Bool().Draw(t, "grpc"),
		}
		if rapid.Bool().Draw(t, "challenge") {
			d.Challenge = &Challenge{Error: text.Draw(t, "error"), Scopes: rapid.SliceOf(text).Draw(t, "scopes")}
		}
		deny := Deny(d)
		allow := Allow(Grant{
			DecisionID: text.Draw(t, "id"),
			Caller:     new(Describe(Agent{text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c"), text.Draw(t, "d"), text.Draw(t, "e"), text.Draw(t, "f"), rapid.SliceOf(text).Draw(t, "g")})),
		})
		if deny.Allowed() || !allow.Allowed() || !explicit(deny.message(t)) || !explicit(allow.message(t)) {
			t.Fatalf("%v %v", deny.message(t), allow.message(t))
		}
		if _, err := proto.Marshal(deny.message(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := proto.Marshal(allow.message(t)); err != nil {
			t.Fatal(err)
		}
		if body := deny.message(t).GetDeniedResponse().GetBody(); len(body) > 1<<10 {
			t.Fatalf("body of %d bytes", len(body))
		}
		for _, h := range append(allow.message(t).GetOkResponse().GetHeaders(), deny.message(t).GetDeniedResponse().GetHeaders()...) {
			if !isHeaderValue(h.GetHeader().GetValue()) {
				t.Fatalf("header %q", h.GetHeader())
			}
		}
	})
}

func TestExplicitRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	ok, denied := Allow(Grant{}).message(t), Deny(Denial{Status: 403}).message(t)
	for name, m := range map[string]*authv3.CheckResponse{
		"nil":                    nil,
		"empty":                  {},
		"status alone":           {Status: ok.GetStatus()},
		"no status":              {HttpResponse: ok.GetHttpResponse()},
		"denial without status":  {HttpResponse: denied.GetHttpResponse()},
		"OK with denial":         {Status: ok.GetStatus(), HttpResponse: denied.GetHttpResponse()},
		"denial with OK":         {Status: denied.GetStatus(), HttpResponse: ok.GetHttpResponse()},
		"OK, nil oneof":          {Status: ok.GetStatus(), HttpResponse: (*authv3.CheckResponse_OkResponse)(nil)},
		"denial, empty oneof":    {Status: denied.GetStatus(), HttpResponse: &authv3.CheckResponse_DeniedResponse{}},
		"denial, nil oneof":      {Status: denied.GetStatus(), HttpResponse: (*authv3.CheckResponse_DeniedResponse)(nil)},
		"denial, no HTTP status": {Status: denied.GetStatus(), HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{}}},
		"error response":         {Status: denied.GetStatus(), HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: denied.GetDeniedResponse()}},
	} {
		wire, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, is := Explicit(wire); is {
			t.Errorf("%s counts as explicit", name)
		}
	}
}

func TestChangesRefuse(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"x-agent-id", "X-Agent-Id", "x_agent_id", "x-agent_name", "x-agent", "X.Agent.Id", "x~agent", ":path", ":authority", "host", "Host", "content-length", "transfer-encoding",
		"connection", "upgrade", "te", "trailer", "keep-alive", "proxy-connection",
	} {
		var c Changes
		if c.SetHeader(name, "v") != ErrReserved || c.RemoveHeader(name) != ErrReserved || c.AddResponseHeader(name, "v") != ErrReserved {
			t.Errorf("the policy may touch %s", name)
		}
	}
	var c Changes
	for what, err := range map[string]error{
		"empty name":       c.SetHeader("", "v"),
		"name with space":  c.SetHeader("a b", "v"),
		"name with colon":  c.SetHeader("a:", "v"),
		"not ASCII":        c.SetHeader("ä", "v"),
		"CR LF":            c.SetHeader("a", "v\r\nx: y"),
		"NUL":              c.AddResponseHeader("a", "v\x00"),
		"not UTF-8":        c.SetHeader("a", "v\xff"),
		"leading space":    c.SetHeader("a", " v"),
		"second value":     c.SetHeader("a", "v", "w\n"),
		"too long":         c.SetHeader("a", strings.Repeat("v", headerValueMax+1)),
		"query name":       c.SetQueryParameter("", "v"),
		"query name =":     c.SetQueryParameter("a=b", "v"),
		"query space":      c.SetQueryParameter("a", "b c"),
		"query ampersand":  c.SetQueryParameter("a", "b&c"),
		"query fragment":   c.SetQueryParameter("a", "b#c"),
		"query CR LF":      c.SetQueryParameter("a", "b\r\nc"),
		"query removal":    c.RemoveQueryParameter("a\n"),
		"removal":          c.RemoveHeader("a b"),
		"metadata type":    c.SetMetadata(map[string]any{"a": 1}),
		"metadata depth":   c.SetMetadata(deep(9)),
		"metadata size":    c.SetMetadata(map[string]any{"a": strings.Repeat("a", metadataBytesMax)}),
		"metadata number":  c.SetMetadata(map[string]any{"a": json.Number("1e999")}),
		"metadata UTF-8":   c.SetMetadata(map[string]any{"a": "\xff"}),
		"metadata name":    c.SetMetadata(map[string]any{"\xff": "a"}),
		"metadata in list": c.SetMetadata(map[string]any{"a": []any{struct{}{}}}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if d := cmp.Diff(Changes{}, c, cmp.AllowUnexported(Changes{}, setting{}, named{}, metadatum{})); d != "" {
		t.Errorf("a refused change left a trace: %s", d)
	}
}

func deep(n int) map[string]any {
	m := map[string]any{}
	for range n {
		m = map[string]any{"a": m}
	}
	return m
}

func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	var c Changes
	for _, add := range []func() error{
		func() error { return c.SetHeader("a", "v") },
		func() error { return c.AddResponseHeader("a", "v") },
		func() error { return c.RemoveHeader("a") },
		func() error { return c.SetQueryParameter("a", "v") },
		func() error { return c.RemoveQueryParameter("a") },
	} {
		for range changesMax {
			if err := add(); err != nil {
				t.Fatal(err)
			}
		}
		if err := add(); err != ErrTooMany {
			t.Errorf("got %v", err)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	g := Grant{
		DecisionID: "0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e5f",
		Caller:     new(Describe(Agent{ID: "agt_1", Organization: "org_a", Issuer: "https://i.example", ClientID: "c", Name: "n", Origin: "local", Scopes: []string{"a", "b"}})),
	}
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !Allow(g).Allowed() {
				b.Fatal("denied")
			}
		}
	})
	b.Run("message types", func(b *testing.B) {
		agent := &Agent{ID: "agt_1", Organization: "org_a", Issuer: "https://i.example", ClientID: "c", Name: "n", Origin: "local", Scopes: []string{"a", "b"}}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := proto.Marshal(oracleAllow(g, agent, nil)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A gRPC client reads a message from a header: it is sent less of a long one.
func TestLongBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<10)
	for grpc, want := range map[bool]int{false: 3 << 10, true: 1 << 10} {
		denied := Deny(Denial{Status: 403, Code: "policy_denied", Body: &long, DecisionID: "d", GRPC: grpc}).message(t).GetDeniedResponse()
		if n := len(denied.GetBody()); n != want {
			t.Errorf("gRPC %v: %d bytes, want %d", grpc, n, want)
		}
	}
}
