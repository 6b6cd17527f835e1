package decide

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// shopProto describes a service with a unary and a streaming method, and a message with a field of each odd kind.
const shopProto = `
name: "shop.proto" package: "shop.v1" syntax: "proto3"
dependency: "google/protobuf/any.proto" dependency: "google/protobuf/struct.proto" dependency: "google/protobuf/timestamp.proto"
enum_type { name: "State" value { name: "STATE_UNSET" number: 0 } value { name: "AWAITING_INPUT" number: 1 } }
message_type {
	name: "Order"
	field { name: "id" number: 1 type: TYPE_INT64 label: LABEL_OPTIONAL json_name: "id" }
	field { name: "opaque_name" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "opaqueName" }
	field { name: "parent" number: 3 type: TYPE_MESSAGE type_name: ".shop.v1.Order" label: LABEL_OPTIONAL json_name: "parent" }
	field { name: "state" number: 4 type: TYPE_ENUM type_name: ".shop.v1.State" label: LABEL_OPTIONAL json_name: "state" }
	field { name: "blob" number: 5 type: TYPE_BYTES label: LABEL_OPTIONAL json_name: "blob" }
	field { name: "extra" number: 6 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL json_name: "extra" }
	field { name: "free" number: 7 type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" label: LABEL_OPTIONAL json_name: "free" }
	field { name: "at" number: 8 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL json_name: "at" }
	field { name: "weight" number: 9 type: TYPE_DOUBLE label: LABEL_OPTIONAL json_name: "weight" }
	field { name: "few" number: 10 type: TYPE_INT32 label: LABEL_OPTIONAL json_name: "few" }
	field { name: "tags" number: 11 type: TYPE_STRING label: LABEL_REPEATED json_name: "tags" }
}
service {
	name: "Shop"
	method { name: "Place" input_type: ".shop.v1.Order" output_type: ".shop.v1.Order" }
	method { name: "Stream" input_type: ".shop.v1.Order" output_type: ".shop.v1.Order" client_streaming: true }
}
`

func shopSet(t testing.TB, files ...*descriptorpb.FileDescriptorProto) []byte {
	t.Helper()
	var shop descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(shopProto), &shop); err != nil {
		t.Fatal(err)
	}
	return encodeSet(t, append(files, &shop)...)
}

func encodeSet(t testing.TB, files ...*descriptorpb.FileDescriptorProto) []byte {
	t.Helper()
	encoded, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// imports are what shopProto imports.
func imports() []*descriptorpb.FileDescriptorProto {
	return []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto),
		protodesc.ToFileDescriptorProto(structpb.File_google_protobuf_struct_proto),
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
	}
}

func shop(t testing.TB) *Descriptors {
	t.Helper()
	d, err := ParseDescriptors(shopSet(t, imports()...))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// order encodes a message given as JSON.
func order(t testing.TB, d *Descriptors, doc string) []byte {
	t.Helper()
	message := dynamicpb.NewMessage(d.method([]string{"shop.v1.Shop", "Place"}).Input())
	if err := (protojson.UnmarshalOptions{Resolver: d.types}).Unmarshal([]byte(doc), message); err != nil {
		t.Fatal(err)
	}
	encoded, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func frame(flag byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

const wholeOrder = `{"id": "9007199254740993", "opaqueName": "asdf", "parent": {"id": "122"}, "state": "AWAITING_INPUT", "blob": "AAAA",
	"extra": {"@type": "type.googleapis.com/shop.v1.Order", "few": 3}, "free": {"foo": ["bar", 1.5, null]}, "at": "2020-12-02T09:48:42.118723Z",
	"weight": 1.23, "few": 100, "tags": ["a", "b"]}`

// The body of a unary call is what protojson makes of its message; what is no whole message is refused, or said to be cut off.
func TestParsedBodyGRPC(t *testing.T) {
	t.Parallel()
	d := shop(t)
	whole := order(t, d, wholeOrder)
	const place = "/shop.v1.Shop/Place"
	for name, c := range map[string]struct {
		path, contentType string
		body              []byte
		want              string // JSON, "" for a refusal
		truncated         bool
	}{
		"whole message":            {place, "application/grpc", frame(0, whole), wholeOrder, false},
		"with subtype":             {place, "application/grpc+proto", frame(0, whole), wholeOrder, false},
		"upper case, a parameter":  {place, "Application/GRPC ; a=b", frame(0, whole), wholeOrder, false},
		"gRPC-Web":                 {place, "application/grpc-web+proto", frame(0, whole), wholeOrder, false},
		"empty message":            {place, "application/grpc", frame(0, nil), `{}`, false},
		"unknown field":            {place, "application/grpc", frame(0, []byte{0xf8, 0x01, 1}), `{}`, false},
		"no body":                  {place, "application/grpc", nil, "null", false},
		"unknown method":           {"/shop.v1.Shop/Other", "application/grpc", frame(0, whole), "null", false},
		"unknown service":          {"/shop.v1.Other/Place", "application/grpc", frame(0, whole), "null", false},
		"a message, not a service": {"/shop.v1.Order/id", "application/grpc", frame(0, whole), "null", false},
		"three segments":           {"/a" + place, "application/grpc", frame(0, whole), "null", false},
		"a segment more":           {place + "/x", "application/grpc", frame(0, whole), "null", false},
		"cut inside the message":   {place, "application/grpc", frame(0, whole)[:9], "null", true},
		"a length of 4 GiB":        {place, "application/grpc", []byte{0, 0xff, 0xff, 0xff, 0xff, 1}, "null", true},
		"client stream":            {"/shop.v1.Shop/Stream", "application/grpc", frame(0, whole), "null", false},
		"cut inside the frame":     {place, "application/grpc", frame(0, whole)[:4], "", false},
		"compressed":               {place, "application/grpc", frame(1, whole), "", false},
		"unknown flag":             {place, "application/grpc", frame(2, whole), "", false},
		"two messages":             {place, "application/grpc", append(frame(0, whole), frame(0, nil)...), "", false},
		"a field after it":         {place, "application/grpc", append(frame(0, whole), 0x50, 1), "", false}, // few: 1
		"a byte too many":          {place, "application/grpc", append(frame(0, whole), 0), "", false},
		"not protobuf":             {place, "application/grpc", frame(0, []byte{0xff}), "", false},
		"another type of field":    {place, "application/grpc", frame(0, []byte{0x12, 1, 0xff}), "", false}, // opaque_name is not UTF-8
		"JSON subtype":             {place, "application/grpc+json", frame(0, []byte(`{}`)), "", false},
		"another subtype":          {place, "application/grpc+thrift", frame(0, whole), "", false},
		"gRPC-Web as text":         {place, "application/grpc-web-text", []byte("AAAAAAA="), "", false},
		"an Any of unknown type":   {place, "application/grpc", frame(0, []byte{0x32, 5, 0x0a, 3, 'a', '/', 'b'}), "", false},
		"nested 33 deep":           {place, "application/grpc", frame(0, nested(34)), "", false},
		"Any in Any in Any":        {place, "application/grpc", frame(0, protowire.AppendBytes([]byte{0x32}, nestedAny(t, 40))), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := check(c.path, map[string]string{"content-type": c.contentType})
			in.Attributes.Request.Http.RawBody = c.body
			got, truncated, refusal := parseBody(parsed(t, in), d)
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

// nested is an order in an order in an order.
func nested(depth int) []byte {
	var message []byte
	for range depth {
		message = protowire.AppendBytes([]byte{0x1a}, message)
	}
	return message
}

// nestedAny is an Any in an Any in an Any.
func nestedAny(t testing.TB, depth int) []byte {
	t.Helper()
	message := &anypb.Any{}
	for range depth {
		var err error
		if message, err = anypb.New(message); err != nil {
			t.Fatal(err)
		}
	}
	encoded, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// In a body that came as text Envoy has replaced bytes: what it says is not what the service reads.
func TestGRPCBodyAsText(t *testing.T) {
	t.Parallel()
	d := shop(t)
	in := check("/shop.v1.Shop/Place", map[string]string{"content-type": "application/grpc"})
	in.Attributes.Request.Http.Body = string(frame(0, order(t, d, `{"few": 1}`)))
	got, _, refusal := parseBody(parsed(t, in), d)
	if refusal == nil || !strings.Contains(refusal.Detail, "pack_as_bytes") {
		t.Errorf("got %v, %v", got, refusal)
	}
	if got, _, refusal := parseBody(parsed(t, in), nil); refusal != nil || got.String() != "null" {
		t.Errorf("without descriptors: %v, %v", got, refusal)
	}
}

// Each Any is unpacked by copying what is in it: without a bound a small body costs the square of its size.
func TestAnyIsUnpackedABoundedNumberOfTimes(t *testing.T) {
	t.Parallel()
	r := &anyResolver{types: shop(t).types}
	for n := range anyMessagesMax + 1 {
		if _, err := r.FindMessageByURL("a/shop.v1.Order"); (err != nil) != (n == anyMessagesMax) {
			t.Fatalf("number %d: %v", n, err)
		}
	}
}

func TestParseDescriptors(t *testing.T) {
	t.Parallel()
	encoded := shopSet(t, imports()...)
	if _, err := ParseDescriptors(encoded); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set  []byte
		says string
	}{
		"cut":             {encoded[:len(encoded)-1], "not an encoded"},
		"text":            {[]byte(shopProto), "not an encoded"},
		"empty":           {nil, "no service"},
		"no service":      {encodeSet(t, imports()...), "no service"},
		"without imports": {shopSet(t), "google/protobuf/any.proto"},
	} {
		if _, err := ParseDescriptors(c.set); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
