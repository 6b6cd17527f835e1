package checkreq

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// get is a well-formed GET /orders/42?x=1 as Envoy sends it; changes are applied to it.
func get(changes ...func(*authv3.AttributeContext, *authv3.AttributeContext_HttpRequest)) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{
		Id: "req-1", Method: "GET", Path: "/orders/42?x=1", Host: "shop.example", Scheme: "https", Protocol: "HTTP/2",
		Headers: map[string]string{
			":method": "GET", ":path": "/orders/42?x=1", ":authority": "shop.example", ":scheme": "https", "accept": "*/*",
		},
	}
	a := &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Time: &timestamppb.Timestamp{Seconds: 1700000000, Nanos: 5}, Http: http,
	}}
	for _, change := range changes {
		change(a, http)
	}
	return &authv3.CheckRequest{Attributes: a}
}

func marshal(t testing.TB, in *authv3.CheckRequest) []byte {
	t.Helper()
	wire, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// parse takes what Parse takes as the message it is.
func parse(t testing.TB, in *authv3.CheckRequest) (*Request, *Refusal) {
	t.Helper()
	return Parse(marshal(t, in))
}

func header(name, value string) func(*authv3.AttributeContext, *authv3.AttributeContext_HttpRequest) {
	return func(_ *authv3.AttributeContext, h *authv3.AttributeContext_HttpRequest) { h.Headers[name] = value }
}

func raw(fields ...string) func(*authv3.AttributeContext, *authv3.AttributeContext_HttpRequest) {
	return func(_ *authv3.AttributeContext, h *authv3.AttributeContext_HttpRequest) {
		if h.HeaderMap == nil {
			h.HeaderMap = &corev3.HeaderMap{}
		}
		for i := 0; i < len(fields); i += 2 {
			h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: fields[i], RawValue: []byte(fields[i+1])})
		}
	}
}

func with(change func(*authv3.AttributeContext_HttpRequest)) func(*authv3.AttributeContext, *authv3.AttributeContext_HttpRequest) {
	return func(_ *authv3.AttributeContext, h *authv3.AttributeContext_HttpRequest) { change(h) }
}

func target(path string) func(*authv3.AttributeContext, *authv3.AttributeContext_HttpRequest) {
	return with(func(h *authv3.AttributeContext_HttpRequest) { h.Path = path; h.Headers[":path"] = path })
}

func TestParseReadsEverything(t *testing.T) {
	t.Parallel()
	certificate := "-----BEGIN%20CERTIFICATE-----"
	in := get(
		header("X-Trace", "1"), raw("x-trace", "2", "authorization", "Bearer t"),
		func(a *authv3.AttributeContext, h *authv3.AttributeContext_HttpRequest) {
			a.Source = &authv3.AttributeContext_Peer{
				Principal: "spiffe://example/a", Certificate: certificate, Service: "a", Labels: map[string]string{"app": "a"},
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: "10.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711},
				}}},
			}
			a.Destination = &authv3.AttributeContext_Peer{
				Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/x.sock"}}},
			}
			a.ContextExtensions = map[string]string{"route": "r1"}
			a.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "shop.example"}
			fields, err := structpb.NewStruct(map[string]any{"n": 1.5, "l": []any{"a", true, nil}})
			if err != nil {
				t.Fatal(err)
			}
			a.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"f": fields}}
			h.Size = 3
			h.RawBody = []byte("abc")
		})
	got, refusal := parse(t, in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	want := &Request{
		ID: "req-1", Method: "GET", Scheme: "https", Host: "shop.example", HostName: "shop.example", Protocol: "HTTP/2",
		Target: "/orders/42?x=1", Path: "/orders/42", Query: "x=1", Segments: []string{"orders", "42"},
		Headers: Headers{
			{":authority", "shop.example"},
			{":method", "GET"},
			{":path", "/orders/42?x=1"},
			{":scheme", "https"},
			{"accept", "*/*"},
			{"authorization", "Bearer t"},
			{"x-trace", "1"},
			{"x-trace", "2"},
		},
		Size: 3, Body: []byte("abc"), Raw: true, Time: in.GetAttributes().GetRequest().GetTime().AsTime(),
		Source: Peer{
			Principal: "spiffe://example/a", Certificate: certificate, Service: "a", Labels: map[string]string{"app": "a"},
			IP: "10.0.0.1", Port: 4711,
		},
		Destination: Peer{Pipe: "/run/x.sock"},
		Extensions:  map[string]string{"route": "r1"},
		SNI:         "shop.example",
	}
	metadata := got.Metadata
	got.Metadata = nil
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	f, _ := metadata["f"].(map[string]any)
	if len(f) != 2 || cmp.Diff([]any{"a", true, nil}, f["l"]) != "" {
		t.Errorf("metadata %v", metadata)
	}
	var joined []string
	got.Headers.Joined(func(name, value string) { joined = append(joined, name+"="+value) })
	if last := joined[len(joined)-1]; last != "x-trace=1,2" || len(joined) != 7 {
		t.Errorf("joined %q", joined)
	}
	if _, ok := got.Headers.Get("x-trace"); ok {
		t.Error("Get chose one of two values")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 9<<10)
	for name, c := range map[string]struct {
		in   *authv3.CheckRequest
		want Reason
	}{
		"nil":                       {nil, ReasonEmpty},
		"zero":                      {&authv3.CheckRequest{}, ReasonEmpty},
		"no http":                   {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}}, ReasonEmpty},
		"no method":                 {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Method = "" })), ReasonMethod},
		"method with space":         {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Method = "GET /" })), ReasonMethod},
		"method too long":           {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Method = long })), ReasonMethod},
		"CONNECT without path":      {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Method, h.Path = "CONNECT", "" })), ReasonTarget},
		"OPTIONS *":                 {get(target("*")), ReasonTarget},
		"absolute form":             {get(target("http://shop.example/")), ReasonTarget},
		"authority form":            {get(target("shop.example:443")), ReasonTarget},
		"target too long":           {get(target("/" + long)), ReasonTarget},
		"query attribute":           {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Query = "a=b" })), ReasonTarget},
		"fragment attribute":        {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Fragment = "f" })), ReasonTarget},
		"scheme":                    {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Scheme = "file"; delete(h.Headers, ":scheme") })), ReasonTarget},
		"other :path":               {get(header(":path", "/admin")), ReasonConflict},
		"other :method":             {get(header(":method", "POST")), ReasonConflict},
		"other :scheme":             {get(header(":scheme", "http")), ReasonConflict},
		"other :authority":          {get(header(":authority", "evil.example")), ReasonConflict},
		"other host":                {get(header("host", "evil.example")), ReasonConflict},
		"host with user":            {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "a@b"; delete(h.Headers, ":authority") })), ReasonHost},
		"host with comma":           {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "a,b"; delete(h.Headers, ":authority") })), ReasonHost},
		"two authorization, raw":    {get(raw("authorization", "Bearer a", "authorization", "Bearer b")), ReasonDuplicate},
		"two authorization, forms":  {get(header("authorization", "Bearer a"), raw("authorization", "Bearer a")), ReasonDuplicate},
		"map, case":                 {get(header("x-a", "1"), header("X-A", "2")), ReasonDuplicate},
		"two authorization, case":   {get(header("authorization", "Bearer a"), header("Authorization", "Bearer b")), ReasonDuplicate},
		"two :path":                 {get(raw(":path", "/orders/42?x=1")), ReasonDuplicate},
		"two content-type":          {get(raw("content-type", "a/b", "content-type", "c/d")), ReasonDuplicate},
		"two content-length":        {get(raw("content-length", "1", "content-length", "1")), ReasonDuplicate},
		"two dpop":                  {get(raw("dpop", "a", "DPoP", "b")), ReasonDuplicate},
		"two xfcc":                  {get(raw("x-forwarded-client-cert", "a", "x-forwarded-client-cert", "b")), ReasonDuplicate},
		"two hosts":                 {get(raw("host", "shop.example", "host", "shop.example")), ReasonDuplicate},
		"content-length text":       {get(header("content-length", "ten")), ReasonHeader},
		"content-length joined":     {get(header("content-length", "1,1")), ReasonHeader},
		"content-length sign":       {get(header("content-length", "+1")), ReasonHeader},
		"content-length huge":       {get(header("content-length", strings.Repeat("9", 19))), ReasonHeader},
		"empty name":                {get(raw("", "a")), ReasonHeader},
		"name with space":           {get(raw("a b", "a")), ReasonHeader},
		"name with NUL":             {get(raw("a\x00", "a")), ReasonHeader},
		"name not ASCII":            {get(raw("ä", "a")), ReasonHeader},
		"unknown pseudo header":     {get(raw(":status", "200")), ReasonHeader},
		"name too long":             {get(raw(strings.Repeat("n", 257), "a")), ReasonHeader},
		"value with CR":             {get(raw("a", "b\rc")), ReasonHeader},
		"value with LF":             {get(raw("a", "b\nc")), ReasonHeader},
		"value with NUL":            {get(raw("a", "b\x00c")), ReasonHeader},
		"value with VT":             {get(raw("a", "b\x0bc")), ReasonHeader},
		"value with DEL":            {get(raw("a", "b\x7fc")), ReasonHeader},
		"value not UTF-8":           {get(raw("a", "b\xffc")), ReasonHeader},
		"connection names identity": {get(header("connection", "close, X-Agent-Id")), ReasonHeader},
		"connection names token":    {get(header("connection", "authorization")), ReasonHeader},
		"101 headers":               {get(many(101)), ReasonLimit},
		"61 KiB header":             {get(raw("a", strings.Repeat("b", 61<<10))), ReasonLimit},
		"two values in one field": {get(with(func(h *authv3.AttributeContext_HttpRequest) {
			h.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "a", Value: "b", RawValue: []byte("c")}}}
		})), ReasonConflict},
		"two bodies": {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Body, h.RawBody = "a", []byte("a") })), ReasonConflict},
		"request id": {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Id = "a\nb" })), ReasonAttributes},
		"principal": {get(func(a *authv3.AttributeContext, _ *authv3.AttributeContext_HttpRequest) {
			a.Source = &authv3.AttributeContext_Peer{Principal: strings.Repeat("p", 2049)}
		}), ReasonAttributes},
		"label": {get(func(a *authv3.AttributeContext, _ *authv3.AttributeContext_HttpRequest) {
			a.Destination = &authv3.AttributeContext_Peer{Labels: map[string]string{"a": "b\x1b"}}
		}), ReasonAttributes},
		"extensions": {get(func(a *authv3.AttributeContext, _ *authv3.AttributeContext_HttpRequest) {
			a.ContextExtensions = map[string]string{}
			for i := range 65 {
				a.ContextExtensions[strings.Repeat("e", i+1)] = ""
			}
		}), ReasonAttributes},
		"metadata not a number": {get(func(a *authv3.AttributeContext, _ *authv3.AttributeContext_HttpRequest) {
			a.MetadataContext = metadata(structpb.NewNumberValue(nan()))
		}), ReasonAttributes},
		"metadata too deep": {get(func(a *authv3.AttributeContext, _ *authv3.AttributeContext_HttpRequest) {
			v := structpb.NewBoolValue(true)
			for range 20 {
				v = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{v}})
			}
			a.RouteMetadataContext = metadata(v)
		}), ReasonAttributes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, refusal := parse(t, c.in)
			if r != nil || refusal == nil || refusal.Reason != c.want {
				t.Errorf("got %+v, %v; want %s", r, refusal, c.want)
			}
		})
	}
}

func many(n int) func(*authv3.AttributeContext, *authv3.AttributeContext_HttpRequest) {
	return with(func(h *authv3.AttributeContext_HttpRequest) {
		for i := range n {
			h.Headers["h"+strings.Repeat("x", i)] = ""
		}
	})
}

func nan() float64 { var zero float64; return zero / zero }

func metadata(v *structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"f": {Fields: map[string]*structpb.Value{"v": v}}}}
}

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]*authv3.CheckRequest{
		"100 headers":             get(many(95)),
		"raw form alone":          get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Headers = nil }), raw(":path", "/orders/42?x=1", "cookie", "a=1", "cookie", "b=2")),
		"no host":                 get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Host = ""; delete(h.Headers, ":authority") })),
		"IPv6 host":               get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "[::1]:8080"; h.Headers[":authority"] = h.Host })),
		"UTF-8 value":             get(header("x-name", "Zoë")),
		"connection upgrade":      get(header("connection", "Upgrade")),
		"extended CONNECT":        get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Method = "CONNECT"; h.Headers[":method"] = "CONNECT" }), raw(":protocol", "websocket")),
		"several values of a set": get(raw("accept", "a/b", "accept", "c/d")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, refusal := parse(t, in); refusal != nil {
				t.Error(refusal)
			}
		})
	}
}

// Identity headers of the client reach neither the policy nor the upstream, in whatever spelling.
func TestStrip(t *testing.T) {
	t.Parallel()
	r, refusal := parse(t, get(raw("x-agent-id", "a", "x-agent-id", "b", "X-Agent-Organization", "o", "x_agent_id", "c", "x-agent_name", "n",
		"x-agent", "1", "x-agentless", "2", "X.Agent.Id", "d", "x-agent.name", "e", "x~agent'role", "f", "x.http.method", "PUT", "xagent-id", "kept", "x-original-url", "/admin", "x_http_method_override", "DELETE", "x-age", "kept")))
	if refusal != nil {
		t.Fatal(refusal)
	}
	want := []string{
		"x-agent", "x-agent-id", "x-agent-organization", "x-agent.name", "x-agent_name", "x-agentless", "x-original-url",
		"x.agent.id", "x.http.method", "x_agent_id", "x_http_method_override", "x~agent'role",
	}
	if d := cmp.Diff(want, r.Strip); d != "" {
		t.Error(d)
	}
	for _, h := range r.Headers {
		if strings.Contains(h.Name, "agent") && h.Name != "xagent-id" || strings.Contains(h.Name, "original") || strings.Contains(h.Name, "override") {
			t.Errorf("the policy would see %s", h.Name)
		}
	}
	for _, name := range []string{"x-age", "xagent-id"} {
		if v, ok := r.Headers.Get(name); !ok || v != "kept" {
			t.Errorf("%s was lost", name)
		}
	}
	if _, refusal := parse(t, get(raw("connection", "close, X.Agent.Id"))); refusal == nil {
		t.Error("the connection header may name x.agent.id")
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in      *authv3.CheckRequest
		body    string
		partial bool
	}{
		"none":           {get(header("content-length", "10")), "", false},
		"whole":          {get(header("content-length", "2"), with(func(h *authv3.AttributeContext_HttpRequest) { h.Body = "ab" })), "ab", false},
		"chunked":        {get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Body = "ab" })), "ab", false},
		"short":          {get(header("content-length", "3"), with(func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = []byte("ab") })), "ab", true},
		"Envoy says so":  {get(header("x-envoy-auth-partial-body", "true"), with(func(h *authv3.AttributeContext_HttpRequest) { h.Body = "ab" })), "ab", true},
		"Envoy says not": {get(header("x-envoy-auth-partial-body", "false"), with(func(h *authv3.AttributeContext_HttpRequest) { h.Body = "ab" })), "ab", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, refusal := parse(t, c.in)
			if refusal != nil || string(r.Body) != c.body || r.Partial != c.partial {
				t.Errorf("got %+v, %v", r, refusal)
			}
		})
	}
}

func TestIsGRPC(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc;a=b": true,
		"application/grpc-web": false, "application/json": false, "": false,
	} {
		r, refusal := parse(t, get(header("content-type", contentType)))
		if refusal != nil || r.IsGRPC() != want {
			t.Errorf("%q: %v, %v", contentType, r.IsGRPC(), refusal)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	in := get(raw("authorization", "Bearer "+strings.Repeat("a", 799), "user-agent", "x", "cookie", "a=b", "x-request-id", "1", "accept-encoding", "gzip"))
	wire := marshal(b, in)
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, refusal := Parse(wire); refusal != nil {
				b.Fatal(refusal)
			}
		}
	})
	b.Run("message types", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in := &authv3.CheckRequest{}
			if err := proto.Unmarshal(wire, in); err != nil {
				b.Fatal(err)
			}
			if _, refusal := oracle(in); refusal != nil {
				b.Fatal(refusal)
			}
		}
	})
}

// TestJoinedCopiesOnce: fields of one name are joined at a price that grows with their bytes, not with their square.
func TestJoinedCopiesOnce(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	var h Headers
	for range HeadersMax {
		h = append(h, Header{"x", strings.Repeat("a", 600)})
	}
	var got string
	if n := testing.AllocsPerRun(100, func() { h.Joined(func(_, value string) { got = value }) }); n > 1 {
		t.Errorf("%v allocations for one name", n)
	}
	if want := strings.Repeat(strings.Repeat("a", 600)+",", HeadersMax); got+"," != want {
		t.Errorf("%d bytes, want %d", len(got), len(want)-1)
	}
}
