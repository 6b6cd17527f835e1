package extauthz

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/settings/settingstest"
	"github.com/agentidp/agentidp/internal/config"
)

// plainHeaders is a request from an Envoy that joins headers (encode_raw_headers: false), which the plugin needs.
func plainHeaders(in *authv3.CheckRequest) *authv3.CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	http.Headers = map[string]string{}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		http.Headers[h.GetKey()] = string(h.GetRawValue())
	}
	http.HeaderMap = nil
	if !bytes.Contains(http.RawBody, []byte{0}) {
		http.Body, http.RawBody = string(http.RawBody), nil
	}
	return in
}

// What a policy reads of its input, stated as a Rego expression that must hold.
func TestCompatInput(t *testing.T) {
	t.Parallel()
	const parts = "multipart/form-data; boundary=B"
	const body = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--B\r\nContent-Disposition: form-data; name=\"doc\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--B--\r\n"
	get := func(path string, headers ...string) *authv3.CheckRequest { return request("GET", path, headers...) }
	for name, c := range map[string]struct {
		in    *authv3.CheckRequest
		holds string
	}{
		"parsed path":           {get("/a/b%20c/"), `input.parsed_path == ["a", "b c", ""]`},
		"root path":             {get("/"), `input.parsed_path == [""]`},
		"parsed query":          {get("/a?x=1&x=2&y=%2F&z&w=a+b"), `input.parsed_query == {"x": ["1", "2"], "y": ["/"], "z": [""], "w": ["a b"]}`},
		"no query":              {get("/a"), `input.parsed_query == {}`},
		"raw path":              {get("/a%20b?x=1"), `input.attributes.request.http.path == "/a%20b?x=1"`},
		"header names":          {get("/a", "X-Staff", "Yes"), `input.attributes.request.http.headers["x-staff"] == "Yes"`},
		"pseudo headers":        {get("/a"), `input.attributes.request.http.headers[":path"] == "/a"`},
		"repeated headers":      {get("/a", "x-a", "1", "x-a", "2"), `input.attributes.request.http.headers["x-a"] == "1,2"`},
		"the token, unmasked":   {get("/a", "authorization", "Bearer abc"), `input.attributes.request.http.headers.authorization == "Bearer abc"`},
		"source principal":      {get("/a"), `input.source_principal == "spiffe://example/caller"; input.attributes.source.principal == input.source_principal`},
		"version":               {get("/a"), `input.version == {"ext_authz": "v3", "encoding": "protojson"}`},
		"time":                  {get("/a"), `is_number(input.attributes.request.time.seconds); not input.attributes.request.time.nanos`},
		"what is not set":       {get("/a"), `not input.attributes.request.http.body; not input.attributes.contextExtensions; not input.attributes.destination.address; not input.identity`},
		"no body":               {get("/a"), `input.parsed_body == null; input.truncated_body == false`},
		"JSON object":           {withBody(get("/a"), `{"id": "ext", "n": 10, "deep": {"list": [true, null]}}`), `input.parsed_body == {"id": "ext", "n": 10, "deep": {"list": [true, null]}}`},
		"JSON array":            {withBody(get("/a"), `["a", 1]`), `input.parsed_body == ["a", 1]`},
		"JSON string":           {withBody(get("/a"), `"a"`), `input.parsed_body == "a"`},
		"JSON number":           {withBody(get("/a"), `42`), `input.parsed_body == 42`},
		"JSON boolean":          {withBody(get("/a"), `true`), `input.parsed_body == true`},
		"JSON null":             {withBody(get("/a"), `null`), `input.parsed_body == null; input.truncated_body == false`},
		"empty JSON":            {withBody(get("/a"), ``), `input.parsed_body == null; input.truncated_body == false`},
		"no content type":       {withTypedBody(get("/a"), "", `{"a": 1}`), `input.parsed_body == null`},
		"another content type":  {withTypedBody(get("/a"), "text/html", `{"a": 1}`), `input.parsed_body == null`},
		"a charset":             {withTypedBody(get("/a"), "application/json; charset=utf-8", `{"a": 1}`), `input.parsed_body.a == 1`},
		"truncated by length":   {withBody(get("/a", "content-length", "100"), `{"a": 1`), `input.parsed_body == null; input.truncated_body == true`},
		"truncated by Envoy":    {withBody(get("/a", "x-envoy-auth-partial-body", "true"), `{"a": 1`), `input.parsed_body == null; input.truncated_body == true`},
		"whole by Envoy":        {withBody(get("/a", "x-envoy-auth-partial-body", "false"), `{"a": 1}`), `input.parsed_body.a == 1; input.truncated_body == false`},
		"form":                  {withTypedBody(get("/a"), "application/x-www-form-urlencoded", `a=1&a=2&b=x+y`), `input.parsed_body == {"a": ["1", "2"], "b": ["x y"]}`},
		"multipart":             {withTypedBody(get("/a"), parts, body), `input.parsed_body == {"note": ["hello"], "doc": [{"a": 1}]}`},
		"multipart, no bound":   {withTypedBody(get("/a"), "multipart/form-data", body), `input.parsed_body == null`},
		"gRPC, no descriptors":  {withTypedBody(get("/a"), "application/grpc", "\x00\x00\x00\x00\x00"), `input.parsed_body == null`},
		"unlike the plugin: //": {get("//a/b"), `false`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := 200
			if c.holds == "false" {
				want = 400
			}
			for form, in := range map[string]*authv3.CheckRequest{"raw headers": proto.Clone(c.in).(*authv3.CheckRequest), "joined headers": c.in} {
				if form == "joined headers" {
					if strings.Contains(name, "repeated") {
						continue // one map cannot hold two
					}
					in = plainHeaders(in)
				}
				e := drop(t, "envoy/authz/allow", "package envoy.authz\ndefault allow := false\nallow if { "+c.holds+" }\n", nil)
				if got := e.ask(t, in); got.status != want {
					t.Errorf("%s: %+v", form, got)
				}
			}
		})
	}
}

// Bodies that are not what they say are refused. The plugin makes an error of most of them, and of some the reading of one
// of several parsers.
func TestCompatBadBodies(t *testing.T) {
	t.Parallel()
	e := drop(t, "envoy/authz/allow", "package envoy.authz\nallow if not input.parsed_body.bad\n", nil)
	for name, in := range map[string]*authv3.CheckRequest{
		"JSON cut off":                      withBody(request("GET", "/a"), `[{"a": 1}`),
		"not JSON":                          withBody(request("GET", "/a"), `foo:bar`),
		"bad form":                          withTypedBody(request("GET", "/a"), "application/x-www-form-urlencoded", "a=%zz"),
		"bad multipart":                     withTypedBody(request("GET", "/a"), "multipart/form-data; boundary=B", "--B\r\nContent-Disposition"),
		"unlike the plugin: a member twice": withBody(request("GET", "/a"), `{"bad": true, "bad": false}`),
		"unlike the plugin: two documents":  withBody(request("GET", "/a"), `{} {"bad": true}`),
		"unlike the plugin: giant number":   withBody(request("GET", "/a"), `{"n": 1e999999999}`),
		"unlike the plugin: cut off, and the policy does not look": withBody(request("GET", "/a", "content-length", "100"), `{"a": 1`),
		"content-length is no number":                              withBody(request("GET", "/a", "content-length", "ten"), `{}`),
	} {
		if got := e.ask(t, in); got.status != 400 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// sinkSet describes test.Sink with the method Put, which takes a FileDescriptorProto: any message will do.
func sinkSet(t testing.TB) []byte {
	t.Helper()
	encoded, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(descriptorpb.File_google_protobuf_descriptor_proto),
		{
			Name: proto.String("sink.proto"), Package: proto.String("test"), Dependency: []string{"google/protobuf/descriptor.proto"},
			Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Sink"), Method: []*descriptorpb.MethodDescriptorProto{
				{Name: proto.String("Put"), InputType: proto.String(".google.protobuf.FileDescriptorProto"), OutputType: proto.String(".google.protobuf.FileDescriptorProto")},
				{Name: proto.String("Stream"), InputType: proto.String(".google.protobuf.FileDescriptorProto"), OutputType: proto.String(".google.protobuf.FileDescriptorProto"), ClientStreaming: proto.Bool(true)},
			}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// A gRPC example in the peer's form: one method is free, another is allowed for one exact message.
func TestCompatGRPC(t *testing.T) {
	t.Parallel()
	descriptors, err := decide.ParseDescriptors(sinkSet(t))
	if err != nil {
		t.Fatal(err)
	}
	e := drop(t, "envoy/authz/allow", `package envoy.authz
default allow := false
allow if input.parsed_path = ["test.Sink", "Ping"]
allow if {
	input.parsed_path = ["test.Sink", "Put"]
	input.parsed_body = {"name": "a.proto", "messageType": [{"name": "A", "field": [{"name": "n", "number": 1}]}]}
}
allow if { input.parsed_path == ["test.Sink", "Stream"]; input.parsed_body == null }
`, func(o *Options) { o.View.Descriptors = descriptors })
	encoded, err := proto.Marshal(&descriptorpb.FileDescriptorProto{Name: proto.String("a.proto"), MessageType: []*descriptorpb.DescriptorProto{
		{Name: proto.String("A"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("n"), Number: proto.Int32(1)}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := proto.Marshal(dynamicpb.NewMessage((&descriptorpb.FileDescriptorProto{}).ProtoReflect().Descriptor()))
	if err != nil {
		t.Fatal(err)
	}
	whole := grpcFrame(0, encoded)
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"free method":                         {"/test.Sink/Ping", whole, 200},
		"the message":                         {"/test.Sink/Put", whole, 200},
		"another message":                     {"/test.Sink/Put", grpcFrame(0, other), 403},
		"unknown method":                      {"/test.Sink/Get", whole, 403},
		"unknown service":                     {"/test.Other/Put", whole, 403},
		"a path of three":                     {"/a/test.Sink/Put", whole, 403},
		"unlike the plugin: cut off":          {"/test.Sink/Put", whole[:len(whole)-1], 400},
		"client stream":                       {"/test.Sink/Stream", whole, 200},
		"not protobuf":                        {"/test.Sink/Put", grpcFrame(0, []byte{0xff}), 400},
		"unlike the plugin: compressed":       {"/test.Sink/Put", grpcFrame(1, encoded), 400},
		"unlike the plugin: a second message": {"/test.Sink/Put", whole + whole, 400},
	} {
		in := withTypedBody(request("POST", c.path), "application/grpc", c.body)
		if got := e.ask(t, in); got.status != c.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func grpcFrame(flag byte, message []byte) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...))
}

// With skipBodyParse the two keys are absent, and bodies that do not parse are nobody's concern.
func TestCompatSkipBodyParse(t *testing.T) {
	t.Parallel()
	const source = "package envoy.authz\ndefault allow := false\nallow if { not has(\"parsed_body\"); not has(\"truncated_body\") }\nhas(key) if _ = input[key]\n"
	in := withBody(request("GET", "/a"), `not JSON`)
	if got := drop(t, "envoy/authz/allow", source, func(o *Options) { o.View.SkipBody = true }).ask(t, in); got.status != 200 {
		t.Errorf("got %+v", got)
	}
	if got := drop(t, "envoy/authz/allow", source, nil).ask(t, in); got.status != 400 {
		t.Errorf("parsed: %+v", got)
	}
}

// showToken is the only way a policy sees the token of an identity we verified.
func TestCompatShowToken(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1})
	for show, want := range map[bool]int{false: 403, true: 200} {
		e := newEdge(t, denyingNothing, func(o *Options) { o.View.ShowToken, o.DecisionLog = show, log })
		e.setPolicy(compileAt(t, "envoy/authz/allow", `package envoy.authz
default allow := false
allow if {
	[_, encoded] := split(input.attributes.request.http.headers.authorization, " ")
	[_, payload, _] := io.jwt.decode(encoded)
	payload.sub == input.identity.subject
}
`, false))
		token := e.signer(t)(nil)
		if got := e.ask(t, request("GET", "/x", "authorization", "Bearer "+token)); got.status != want {
			t.Errorf("show %v: %+v", show, got)
		}
		if got := e.ask(t, request("GET", "/x", "authorization", "Bearer "+token[:len(token)-6]+"AAAAAA")); got.status != 401 {
			t.Errorf("show %v: a forged token: %+v", show, got)
		}
	}
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "Bearer ey") || strings.Count(out.String(), "\n") != 4 {
		t.Errorf("log: %s", out.String())
	}
}

// The file's query and path name the same rule, and descriptors are read from a file.
func TestCompatConfig(t *testing.T) {
	t.Parallel()
	dir := settingstest.Dir(t)
	if err := os.WriteFile(dir+"/sink.pb", sinkSet(t), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(policy string) *Config {
		t.Helper()
		c, err := loadConfig(t, dir, "listen: tcp://127.0.0.1:0\nidentity: policy\npolicy: {dir: policies"+policy+"}\n")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for policy, want := range map[string]string{
		"": "agentidp/authz/allow", ", path: agentidp/authz/allow": "agentidp/authz/allow", ", query: data.agentidp.authz.allow": "agentidp/authz/allow",
		`, query: 'data.agentidp["authz"].allow'`: "agentidp/authz/allow",
	} {
		if got := load(policy).PolicyConfig().Path; got != want {
			t.Errorf("%s: %s", policy, got)
		}
	}
	view, err := load(", protoDescriptor: sink.pb").Policy.View()
	if err != nil || view.Descriptors == nil || view.ShowToken || view.SkipBody {
		t.Errorf("%+v, %v", view, err)
	}
	if view, err := load(", showToken: true, skipBodyParse: true").Policy.View(); err != nil || !view.ShowToken || !view.SkipBody {
		t.Errorf("%+v, %v", view, err)
	}
	large := make([]byte, decide.DescriptorsBytesMax+1)
	if err := os.WriteFile(dir+"/large.pb", large, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&settings.Policy{ProtoDescriptor: config.Path(dir + "/large.pb")}).View(); err == nil {
		t.Error("a file of more than 4 MiB was read")
	}
	for mode, want := range map[string]bool{"": false, ", showToken: true": true} {
		c := load(mode)
		c.Identity = settings.IdentityRequired
		if c.PolicyConfig().TokenBuiltins != want {
			t.Errorf("%q: token functions %v", mode, !want)
		}
	}
}
