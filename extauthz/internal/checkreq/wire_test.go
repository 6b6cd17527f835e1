package checkreq

import (
	"bytes"
	"math"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"
)

// pool is what checks are put together from.
type pool struct {
	texts, names, contents, targets, hosts, methods, schemes, certificates *rapid.Generator[string]
	numbers                                                                *rapid.Generator[float64]
	oddities                                                               int
}

// tame makes checks that are accepted, wild adds something of each kind that is refused.
func tame() *pool {
	of := rapid.SampledFrom[[]string]
	return &pool{
		of([]string{"", "a", "b c", "Zoë"}), of([]string{"accept", "cookie", "x-a", "X-B", "x-agent-id", "x_agent_id", "x-agent-role"}), of([]string{"", "1", "Zoë", "a, b"}),
		of([]string{"/", "/orders", "/orders?x=1", "/a/b/c/d/e/f/g/h/i/j?a=1&b=%20", "/a%20b?"}), of([]string{"", "shop.example", "[::1]:80"}), of([]string{"GET", "POST"}),
		of([]string{"", "https", "http"}), of([]string{"", "-----BEGIN%20"}), rapid.SampledFrom([]float64{0, 1.5, -1e300}), 1,
	}
}

func wild() *pool {
	of, t := rapid.SampledFrom[[]string], tame()
	return &pool{
		rapid.OneOf(t.texts, t.texts, of([]string{"line\nbreak", strings.Repeat("p", 2049)})),
		rapid.OneOf(t.names, of([]string{"Accept", "authorization", ":path", ":method", "host", "content-length", "connection", "", "a b", "x-envoy-auth-partial-body"})),
		rapid.OneOf(t.contents, of([]string{"GET", "/orders?x=1", "shop.example", "Bearer a.b.c", "close, x-agent-id", "cr\rlf", "true"})),
		rapid.OneOf(t.targets, t.targets, of([]string{"//", "/..", "/a;b", "", "*", "/x?%zz", "/x?a;b"})), rapid.OneOf(t.hosts, of([]string{"a@b"})),
		rapid.OneOf(t.methods, t.methods, of([]string{"", "G T"})), rapid.OneOf(t.schemes, of([]string{"ftp"})),
		rapid.OneOf(t.certificates, of([]string{"with space", strings.Repeat("c", 65<<10)})), rapid.OneOf(t.numbers, rapid.SampledFrom([]float64{math.Inf(1), math.NaN()})), 9,
	}
}

func (p *pool) drawMap(t *rapid.T, label string, key *rapid.Generator[string]) map[string]string {
	return rapid.MapOfN(key, p.texts, 0, 3).Draw(t, label)
}

func (p *pool) drawValue(t *rapid.T, depth int) *structpb.Value {
	switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
	case kind == 0:
		return &structpb.Value{}
	case kind == 1:
		return structpb.NewNullValue()
	case kind == 2:
		return structpb.NewNumberValue(p.numbers.Draw(t, "number"))
	case kind == 3 || depth == 0:
		return structpb.NewStringValue(p.texts.Draw(t, "string"))
	case kind == 4:
		return structpb.NewBoolValue(rapid.Bool().Draw(t, "bool"))
	case kind == 5:
		return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{p.texts.Draw(t, "member"): p.drawValue(t, depth-1), "m": p.drawValue(t, depth-1)}})
	default:
		return structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{p.drawValue(t, depth-1), p.drawValue(t, depth-1)}})
	}
}

func (p *pool) drawMetadata(t *rapid.T) *corev3.Metadata {
	if rapid.IntRange(0, 3).Draw(t, "metadata") > 0 {
		return nil
	}
	m := &corev3.Metadata{}
	for _, filter := range rapid.SliceOfNDistinct(p.names, 0, 2, rapid.ID).Draw(t, "filters") {
		if m.FilterMetadata == nil {
			m.FilterMetadata = map[string]*structpb.Struct{}
		}
		value := p.drawValue(t, 3)
		for range rapid.IntRange(0, 2*p.oddities).Draw(t, "nesting") {
			value = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{value}})
		}
		m.FilterMetadata[filter] = &structpb.Struct{Fields: map[string]*structpb.Value{"v": value}}
	}
	return m
}

func (p *pool) drawPeer(t *rapid.T) *authv3.AttributeContext_Peer {
	if rapid.Bool().Draw(t, "no peer") {
		return nil
	}
	peer := &authv3.AttributeContext_Peer{
		Service: p.texts.Draw(t, "service"), Labels: p.drawMap(t, "labels", p.names), Principal: p.texts.Draw(t, "principal"),
		Certificate: p.certificates.Draw(t, "certificate"),
	}
	switch rapid.IntRange(0, 4).Draw(t, "address") {
	case 1:
		peer.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: p.texts.Draw(t, "pipe"), Mode: 7}}}
	case 2:
		peer.Address = &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
			AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "l"}, EndpointId: "e",
		}}}
	case 3:
		peer.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Protocol: corev3.SocketAddress_UDP, Address: p.texts.Draw(t, "ip"), ResolverName: "r", Ipv4Compat: true,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: rapid.Uint32().Draw(t, "port")},
		}}}
	case 4:
		peer.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			PortSpecifier: &corev3.SocketAddress_NamedPort{NamedPort: "http"},
		}}}
	}
	return peer
}

func drawCheck(t *rapid.T) *authv3.CheckRequest {
	p := tame()
	if rapid.Bool().Draw(t, "wild") {
		p = wild()
	}
	http := &authv3.AttributeContext_HttpRequest{
		Id: p.texts.Draw(t, "id"), Method: p.methods.Draw(t, "method"), Path: p.targets.Draw(t, "target"), Host: p.hosts.Draw(t, "host"),
		Scheme: p.schemes.Draw(t, "scheme"), Protocol: "HTTP/2", Size: rapid.Int64().Draw(t, "size"),
		Headers: rapid.MapOfN(p.names, p.contents, 0, 6).Draw(t, "headers"),
	}
	if rapid.Bool().Draw(t, "raw form") {
		http.HeaderMap = &corev3.HeaderMap{}
		for range rapid.IntRange(0, 40).Draw(t, "raw headers") {
			field := &corev3.HeaderValue{Key: p.names.Draw(t, "name"), RawValue: []byte(p.contents.Draw(t, "value"))}
			if rapid.IntRange(0, 30).Draw(t, "both") > 31-p.oddities {
				field.Value = p.contents.Draw(t, "other value")
			}
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, field)
		}
	}
	switch rapid.IntRange(0, p.oddities).Draw(t, "odd") {
	case 0:
		http.Body = "text"
	case 1:
		http.RawBody = []byte{0xff, 0}
	case 2:
		http.Body, http.RawBody = "text", []byte("raw")
	case 3:
		http.Query = "q"
	case 4:
		http.Fragment = "f"
	}
	a := &authv3.AttributeContext{
		Source: p.drawPeer(t), Destination: p.drawPeer(t), ContextExtensions: p.drawMap(t, "extensions", p.names),
		MetadataContext: p.drawMetadata(t), RouteMetadataContext: p.drawMetadata(t),
		Request: &authv3.AttributeContext_Request{Http: http},
	}
	if rapid.Bool().Draw(t, "time") {
		a.Request.Time = &timestamppb.Timestamp{Seconds: rapid.Int64().Draw(t, "seconds"), Nanos: rapid.Int32().Draw(t, "nanos")}
	}
	if rapid.Bool().Draw(t, "tls") {
		a.TlsSession = &authv3.AttributeContext_TLSSession{Sni: p.texts.Draw(t, "sni")}
	}
	return &authv3.CheckRequest{Attributes: a}
}

// shuffled writes the fields of a message in another order, in every message inside it too. Fields of one number keep theirs.
func shuffled(t *rapid.T, wire []byte, of protoreflect.MessageDescriptor) []byte {
	fields := map[protowire.Number][][]byte{}
	var order []protowire.Number
	for len(wire) > 0 {
		number, kind, n := protowire.ConsumeTag(wire)
		size := protowire.ConsumeFieldValue(number, kind, wire[n:])
		field := bytes.Clone(wire[:n+size])
		if d := of.Fields().ByNumber(number); d != nil && d.Message() != nil {
			inner, _ := protowire.ConsumeBytes(wire[n:])
			field = protowire.AppendBytes(protowire.AppendTag(nil, number, kind), shuffled(t, inner, d.Message()))
		}
		fields[number], order = append(fields[number], field), append(order, number)
		wire = wire[n+size:]
	}
	var out []byte
	for _, number := range rapid.Permutation(order).Draw(t, "order") {
		out, fields[number] = append(out, fields[number][0]...), fields[number][1:]
	}
	return out
}

// Parse reads what the protobuf library and Envoy's message types read, and says what they would make us say.
func TestParseAgreesWithTheOracle(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, map[Reason]bool{}
	rapid.Check(t, func(t *rapid.T) {
		wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(drawCheck(t))
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "shuffle") {
			wire = shuffled(t, wire, (&authv3.CheckRequest{}).ProtoReflect().Descriptor())
		}
		decoded := &authv3.CheckRequest{}
		if err := proto.Unmarshal(wire, decoded); err != nil {
			t.Fatal(err)
		}
		want, wantRefusal := oracle(decoded)
		got, gotRefusal := Parse(wire)
		clear(wire) // nothing of it is kept
		if wantRefusal != nil && wantRefusal.Reason == ReasonHeader && gotRefusal != nil {
			gotRefusal.Detail = wantRefusal.Detail // of several bad headers any may speak: a map has no order
		}
		if d := cmp.Diff(wantRefusal, gotRefusal); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		if got != nil {
			accepted++
		} else {
			refused[gotRefusal.Reason] = true
		}
	})
	if accepted == 0 || len(refused) < 6 {
		t.Errorf("%d accepted, %d reasons: the test proves little", accepted, len(refused))
	}
}

// Whatever bytes come, Parse accepts nothing that a decoder refuses, and what both accept they read alike, but for what
// comes twice.
func FuzzParse(f *testing.F) {
	for _, in := range []*authv3.CheckRequest{
		get(), get(raw("authorization", "Bearer a", "x-agent-id", "b")), get(target("/%2e%2e/a;b?c=d")),
		get(with(func(h *authv3.AttributeContext_HttpRequest) { h.Method, h.Path = "CONNECT", "" })),
		get(func(a *authv3.AttributeContext, _ *authv3.AttributeContext_HttpRequest) {
			a.MetadataContext = metadata(structpb.NewStringValue("v"))
			a.Source = &authv3.AttributeContext_Peer{Labels: map[string]string{"a": "b"}, Principal: "p"}
			a.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "s"}
		}),
	} {
		f.Add(marshal(f, in))
	}
	f.Fuzz(func(t *testing.T, b []byte) { parseAny(t, b) })
}

func parseAny(t interface{ Fatalf(string, ...any) }, b []byte) {
	r, refusal := Parse(b)
	if (r == nil) == (refusal == nil) {
		t.Fatalf("%+v, %v", r, refusal)
	}
	if r == nil {
		return
	}
	in := &authv3.CheckRequest{}
	if err := proto.Unmarshal(b, in); err != nil {
		t.Fatalf("accepted, and no decoder does: %v", err)
	}
	want, wantRefusal := oracle(in)
	if d := cmp.Diff(want, r); d != "" {
		t.Fatalf("%v %s", wantRefusal, d)
	}
	agreed(t, r)
	for i, h := range r.Headers {
		if strings.HasPrefix(fold(h.Name), identityPrefix) || strings.ContainsAny(h.Value, "\r\n\x00") || h.Name != strings.ToLower(h.Name) {
			t.Fatalf("header %q", h)
		}
		if i > 0 && h.Name == r.Headers[i-1].Name && single[h.Name] {
			t.Fatalf("two %q", h.Name)
		}
	}
}

// The fuzz target's property on every run of the tests: damaged checks.
func TestDamagedChecks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		wire, err := proto.Marshal(drawCheck(t))
		if err != nil || len(wire) == 0 {
			return
		}
		for range rapid.IntRange(1, 4).Draw(t, "damages") {
			at := rapid.IntRange(0, len(wire)-1).Draw(t, "at")
			switch rapid.IntRange(0, 3).Draw(t, "damage") {
			case 0:
				wire[at] = rapid.Byte().Draw(t, "byte")
			case 1:
				wire = wire[:at+1]
			case 2:
				wire = append(bytes.Clone(wire[:at]), wire[at+1:]...)
			default:
				wire = append(append(bytes.Clone(wire[:at]), rapid.Byte().Draw(t, "byte")), wire[at:]...)
			}
			if len(wire) == 0 {
				return
			}
		}
		parseAny(t, wire)
	})
}

func field(number protowire.Number, content ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), bytes.Join(content, nil))
}

func text(number protowire.Number, s string) []byte { return field(number, []byte(s)) }

// http is a check whose HTTP request begins with a good one; the fields given follow.
func http(more ...[]byte) []byte {
	good := append([][]byte{text(2, "GET"), text(4, "/")}, more...)
	return field(1, field(4, field(2, good...)))
}

// What a decoder would merge, skip or take the last of is refused: Envoy does not send it, and whoever does wants two
// readers to differ.
func TestWireFormsThatEnvoyNeverSends(t *testing.T) {
	t.Parallel()
	if _, refusal := Parse(http()); refusal != nil {
		t.Fatal(refusal)
	}
	good := field(4, field(2, text(2, "GET"), text(4, "/")))
	entry := field(3, text(1, "a"), text(2, "b"))
	stringValue := text(3, "v")
	for name, wire := range map[string][]byte{
		"two attributes":          append(http(), http()...),
		"two requests":            field(1, good, good),
		"two HTTP requests":       field(1, field(4, field(2, text(2, "GET"), text(4, "/")), field(2, text(4, "/admin")))),
		"two paths":               http(text(4, "/admin")),
		"two equal methods":       http(text(2, "GET")),
		"two bodies":              http(text(11, "a"), text(11, "b")),
		"two header maps":         http(field(13), field(13)),
		"two values of a header":  http(field(13, field(1, text(1, "a"), text(3, "b"), text(3, "c")))),
		"two names of a header":   http(field(13, field(1, text(1, "a"), text(1, "b")))),
		"two keys of an entry":    http(field(3, text(1, "a"), text(1, "b"))),
		"two sources":             field(1, good, field(1), field(1)),
		"two addresses":           field(1, good, field(1, field(1, field(1), field(2)))),
		"two ports":               field(1, good, field(1, field(1, field(1, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 1), text(4, "p"))))),
		"a label twice":           field(1, good, field(1, entry, entry)),
		"an extension twice":      field(1, good, field(10, text(1, "a")), field(10, text(1, "a"))),
		"a filter twice":          field(1, good, field(11, field(1, text(1, "f")), field(1, text(1, "f")))),
		"a member twice":          field(1, good, field(11, field(1, text(1, "f"), field(2, field(1, text(1, "m")), field(1, text(1, "m")))))),
		"a value of two kinds":    field(1, good, field(11, field(1, text(1, "f"), field(2, field(1, text(1, "m"), field(2, stringValue, stringValue)))))),
		"path as a number":        field(1, field(4, field(2, text(2, "GET"), protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), 1)))),
		"size as text":            http(text(9, "1")),
		"a request as a number":   field(1, protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), 1)),
		"port above 32 bits":      field(1, good, field(1, field(1, field(1, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 1<<32))))),
		"path not UTF-8":          field(1, field(4, field(2, text(2, "GET"), text(4, "/\xff")))),
		"name not UTF-8":          http(field(13, field(1, text(1, "a\xff")))),
		"unread text not UTF-8":   field(1, good, field(1, field(1, field(1, text(5, "\xff"))))),
		"unread Any not UTF-8":    field(1, good, field(11, field(2, text(1, "f"), field(2, text(1, "\xff"))))),
		"length beyond the end":   append(http(), 0x0a, 0x05, 0x00),
		"a tag alone":             protowire.AppendTag(http(), 2, protowire.BytesType),
		"field number 0":          append(http(), 0x02, 0x00),
		"an end without a group":  protowire.AppendTag(http(), 5, protowire.EndGroupType),
		"a group that never ends": protowire.AppendTag(http(), 5, protowire.StartGroupType),
	} {
		if r, refusal := Parse(wire); refusal == nil || refusal.Reason != ReasonAttributes {
			t.Errorf("%s: %+v, %v", name, r, refusal)
		}
	}
}

// New fields of a newer Envoy do no harm.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	t.Parallel()
	group := protowire.AppendTag(protowire.AppendTag(nil, 99, protowire.StartGroupType), 99, protowire.EndGroupType)
	more := bytes.Join([][]byte{
		text(100, "\xff"), text(100, "again"), group, protowire.AppendVarint(protowire.AppendTag(nil, 101, protowire.VarintType), 7),
		protowire.AppendFixed32(protowire.AppendTag(nil, 102, protowire.Fixed32Type), 7),
		protowire.AppendFixed64(protowire.AppendTag(nil, 103, protowire.Fixed64Type), 7),
	}, nil)
	check := append(field(1, field(4, field(2, text(2, "GET"), text(4, "/"), more, field(13, field(1, text(1, "a"), more), more)), more), more), more...)
	r, refusal := Parse(check)
	if refusal != nil || r.Method != "GET" || len(r.Headers) != 1 {
		t.Errorf("%+v, %v", r, refusal)
	}
	parseAny(t, check)
}

func TestTooLargeChecks(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]bool{MessageBytesMax: true, MessageBytesMax + 1: false} {
		const tagAndLength = 2 + 3
		wire := append(http(), field(100, make([]byte, size-len(http())-tagAndLength))...)
		if _, refusal := Parse(wire); len(wire) != size || (refusal == nil) != want {
			t.Errorf("%d bytes: %v", len(wire), refusal)
		}
	}
}
