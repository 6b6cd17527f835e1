package extauthz_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
	"github.com/agentidp/agentidp/manifests/envoy"
)

// startEnvoyWithBodies is startEnvoy, told to send the first KiB of bodies, as bytes.
func (e *edge) startEnvoyWithBodies(t *testing.T) {
	t.Helper()
	doc, err := envoy.Render(envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: e.socket, Upstream: e.service.Address})
	if err != nil {
		t.Fatal(err)
	}
	const before = "failure_mode_allow: false"
	if bytes.Count(doc, []byte(before)) != 1 || !bytes.Contains(doc, []byte("timeout: 0.25s # ")) {
		t.Fatal("ext_authz is not where this test looks for it")
	}
	doc = bytes.Replace(doc, []byte("timeout: 0.25s # "), []byte("timeout: 5s # "), 1)
	doc = bytes.Replace(doc, []byte(before), []byte("with_request_body: {max_request_bytes: 1024, allow_partial_message: true, pack_as_bytes: true}\n                      "+before), 1)
	e.address = testkit.Envoy(t, doc).Listener(t, "ingress")
}

// writeDescriptors describes test.Sink/Put, which takes a FieldDescriptorProto: any message will do.
func (e *edge) writeDescriptors(t *testing.T) {
	t.Helper()
	encoded, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(descriptorpb.File_google_protobuf_descriptor_proto),
		{
			Name: proto.String("sink.proto"), Package: proto.String("test"), Dependency: []string{"google/protobuf/descriptor.proto"},
			Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Sink"), Method: []*descriptorpb.MethodDescriptorProto{
				{Name: proto.String("Put"), InputType: proto.String(".google.protobuf.FieldDescriptorProto"), OutputType: proto.String(".google.protobuf.FieldDescriptorProto")},
			}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.dir, "sink.pb"), encoded, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a policy decides by a body is what the service gets, through the real Envoy.
func TestEdgeBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "policy: {dir: policies, query: data.agentidp.authz.allow, timeout: 200ms, protoDescriptor: sink.pb}\n")
	e.writeDescriptors(t)
	e.write(t, "policies/authz.rego", "package agentidp.authz\ndefault allow := false\nallow if { input.identity; not input.parsed_body.blocked; not input.parsed_body.name == \"blocked\" }\n")
	e.startHere(t)
	e.startEnvoyWithBodies(t)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	message := func(name string) string {
		encoded, err := proto.Marshal(&descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(200)})
		if err != nil {
			t.Fatal(err)
		}
		return string(append([]byte{0, 0, 0, byte(len(encoded) >> 8), byte(len(encoded))}, encoded...))
	}
	for name, c := range map[string]struct {
		path, contentType, body string
		reached                 bool
	}{
		"JSON":                  {"/orders", "application/json", `{"item": "ü"}`, true},
		"JSON, denied":          {"/orders", "application/json", `{"blocked": 1}`, false},
		"JSON, twice":           {"/orders", "application/json", `{"blocked": 1, "blocked": false}`, false},
		"JSON of 1 KiB":         {"/orders", "application/json", `{"item": "` + strings.Repeat("x", 1024-12) + `"}`, true},
		"JSON, denied later on": {"/orders", "application/json", `{"item": "` + strings.Repeat("x", 2000) + `", "blocked": 1}`, false},
		"form, denied":          {"/orders", "application/x-www-form-urlencoded", "blocked=1", false},
		"gRPC":                  {"/test.Sink/Put", "application/grpc", message("fine"), true},
		"gRPC, denied":          {"/test.Sink/Put", "application/grpc", message("blocked"), false},
		"gRPC, second denied":   {"/test.Sink/Put", "application/grpc", message("fine") + message("blocked"), false},
		"gRPC, compressed":      {"/test.Sink/Put", "application/grpc", "\x01" + message("blocked")[1:], false},
		"gRPC, cut off":         {"/test.Sink/Put", "application/grpc", message(strings.Repeat("x", 2000)), false},
		"gRPC, another method":  {"/test.Sink/Get", "application/grpc", message("blocked"), true},
	} {
		before := e.service.Count()
		a := rawhttp.Send(t, e.address, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			c.path, e.bearer(t), c.contentType, len(c.body), c.body))
		if reached := e.service.Count() != before; reached != c.reached {
			t.Errorf("%s: status %d, the service was reached: %v; %s", name, a.Status, reached, a.Body)
		}
	}
}

// A dry run through the real Envoy: the policy's denials pass, bad tokens do not, and the log says so first.
func TestEdgeDryRun(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "policy: {dir: policies, timeout: 200ms, dryRun: true}\n")
	e.startHere(t)
	e.startEnvoy(t)
	e.await(t, http.StatusOK, "/orders/warm", e.bearer(t))
	if !strings.Contains(e.log.String(), "DRY RUN") {
		t.Errorf("nothing says that this is a dry run: %s", e.log.String())
	}
	for name, c := range map[string]struct {
		target  string
		headers []string
		status  int
	}{
		"the policy denies": {"/admin", []string{e.bearer(t)}, 200},
		"no token":          {"/admin", nil, 401},
		"a bad token":       {"/orders/1", []string{"Authorization: Bearer a.b.c"}, 401},
		"another audience":  {"/orders/1", []string{e.bearer(t, "aud", "svc://other")}, 401},
		"encoded slash":     {"/orders%2F..%2Fadmin", []string{e.bearer(t)}, 400},
	} {
		before := e.service.Count()
		if a := e.get(t, c.target, c.headers...); a.Status != c.status || (c.status == 200) != (e.service.Count() != before) {
			t.Errorf("%s: status %d, want %d", name, a.Status, c.status)
		}
	}
}
