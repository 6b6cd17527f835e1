package decide

import (
	_ "embed"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	//go:embed testdata/check.json
	goldenCheck []byte // in protojson
	//go:embed testdata/input.json
	goldenInput string
)

// neverSent are the attributes that Envoy leaves empty, or sends in place of another one that the golden check has.
var neverSent = map[protoreflect.FullName]string{
	"envoy.service.auth.v3.AttributeContext.HttpRequest.query":      "part of path",
	"envoy.service.auth.v3.AttributeContext.HttpRequest.fragment":   "part of path",
	"envoy.service.auth.v3.AttributeContext.HttpRequest.raw_body":   "instead of body",
	"envoy.service.auth.v3.AttributeContext.HttpRequest.header_map": "instead of headers, and shown as headers",
	"envoy.config.core.v3.Metadata.typed_filter_metadata":           "only for namespaces that Envoy's configuration names",
}

// The whole document, for a check with every attribute set; the table in docs/policies.md describes it.
func TestGoldenInput(t *testing.T) {
	t.Parallel()
	in := &authv3.CheckRequest{}
	if err := protojson.Unmarshal(goldenCheck, in); err != nil {
		t.Fatal(err)
	}
	unset(t, in.GetAttributes().ProtoReflect())
	got, refusal, err := Input(Subject{Request: parsed(t, in), ShowAuth: true})
	if refusal != nil || err != nil {
		t.Fatal(refusal, err)
	}
	if d := cmp.Diff(tree(t, goldenInput), tree(t, got.String())); d != "" {
		t.Error(d)
	}
}

// unset finds attributes that the golden check lacks: a new release of the API shows here.
func unset(t *testing.T, m protoreflect.Message) {
	t.Helper()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case neverSent[f.FullName()] != "":
		case f.ContainingOneof() != nil: // of an address: one of its kinds
		case !m.Has(f):
			t.Errorf("%s is not set", f.FullName())
		case f.IsMap() && f.MapValue().Message() != nil, f.Message() == nil, f.Message().FullName() == "google.protobuf.Timestamp":
		case !f.IsMap() && !f.IsList():
			unset(t, m.Get(f).Message())
		}
	}
}
