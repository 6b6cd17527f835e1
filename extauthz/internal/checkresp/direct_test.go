package checkresp

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

const contents = `{"resource":"https://orders.example/mcp"}`

func directMessage(t *testing.T, a Answer) *authv3.CheckResponse {
	t.Helper()
	m := &authv3.CheckResponse{}
	if err := proto.Unmarshal(a.Wire(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Whatever becomes of its bytes, the document is a denial to Envoy: the request does not pass.
func TestDirect(t *testing.T) {
	t.Parallel()
	d := NewDocument([]byte(contents))
	for name, c := range map[string]struct {
		answer  Answer
		status  int
		body    string
		headers map[string]string
	}{
		"document": {Direct(d, "d-1"), http.StatusOK, contents, map[string]string{
			"content-type": "application/json", "cache-control": "public, max-age=300", "access-control-allow-origin": "*",
		}},
		"preflight": {DirectPreflight(d, "d-1"), http.StatusNoContent, "", map[string]string{
			"access-control-allow-origin": "*", "access-control-allow-methods": "GET, HEAD", "access-control-allow-headers": "*", "access-control-max-age": "600",
		}},
	} {
		m := directMessage(t, c.answer)
		denied := m.GetDeniedResponse()
		if c.answer.Allowed() || m.GetStatus().GetCode() == 0 || m.GetOkResponse() != nil || m.GetErrorResponse() != nil {
			t.Errorf("%s: not a denial to Envoy: %v", name, m)
		}
		if int(denied.GetStatus().GetCode()) != c.status || denied.GetBody() != c.body || m.GetDynamicMetadata().AsMap()["decision_id"] != "d-1" {
			t.Errorf("%s: %v", name, m)
		}
		if diff := cmp.Diff(c.headers, headersOf(denied.GetHeaders())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !d.Answers(c.answer.Wire()) {
			t.Errorf("%s: not taken for the document", name)
		}
		if allows, explicit := Explicit(c.answer.Wire()); allows || explicit {
			t.Errorf("%s: explicit to somebody who does not know the document", name)
		}
	}
}

// A status of success is for the one document, byte by byte.
func TestOnlyTheDocumentIsAnswered(t *testing.T) {
	t.Parallel()
	d, other := NewDocument([]byte(contents)), NewDocument([]byte(strings.Replace(contents, "orders", "evil", 1)))
	wire := func(change func(*authv3.CheckResponse)) []byte {
		m := directMessage(t, Direct(d, "d-1"))
		change(m)
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, answer := range map[string][]byte{
		"nothing":          nil,
		"another document": Direct(other, "d-1").Wire(),
		"an OK":            Allow(Grant{}).Wire(),
		"a denial":         Deny(Denial{Status: 403}).Wire(),
		"and an OK":        slices.Concat(Direct(d, "d-1").Wire(), Allow(Grant{}).Wire()),
		"twice":            slices.Concat(Direct(d, "d-1").Wire(), Direct(d, "d-1").Wire()),
		"half":             Direct(d, "d-1").Wire()[:40],
		"status OK":        wire(func(m *authv3.CheckResponse) { m.Status.Code = 0 }),
		"no status":        wire(func(m *authv3.CheckResponse) { m.Status = nil }),
		"another body":     wire(func(m *authv3.CheckResponse) { m.GetDeniedResponse().Body = "{}" }),
		"status 201":       wire(func(m *authv3.CheckResponse) { m.GetDeniedResponse().Status.Code = typev3.StatusCode_Created }),
		"a header more": wire(func(m *authv3.CheckResponse) {
			m.GetDeniedResponse().Headers = append(m.GetDeniedResponse().Headers, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "set-cookie", Value: "a=1"}})
		}),
		"an error response": wire(func(m *authv3.CheckResponse) {
			m.HttpResponse = &authv3.CheckResponse_ErrorResponse{ErrorResponse: m.GetDeniedResponse()}
		}),
	} {
		if d.Answers(answer) {
			t.Errorf("%s is taken for the document", name)
		}
	}
	var none *Document
	if none.Answers(Direct(d, "d-1").Wire()) {
		t.Error("no document answers something")
	}
	rapid.Check(t, func(t *rapid.T) {
		damaged := slices.Clone(Direct(d, "d-1").Wire())
		damaged[rapid.IntRange(0, len(damaged)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
		m := &authv3.CheckResponse{}
		if d.Answers(damaged) && (proto.Unmarshal(damaged, m) != nil || m.GetStatus().GetCode() == 0 || m.GetDeniedResponse().GetBody() != contents) {
			t.Fatalf("%x is taken for the document", damaged)
		}
	})
}

// Nobody but the publisher of the metadata answers with a document.
func TestDirectHasOneCaller(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir("../../..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if n := strings.Count(string(source), "checkresp.Direct") + strings.Count(string(source), "checkresp.NewDocument"); n > 0 {
			found += n
			if filepath.Base(path) != "resource.go" {
				t.Errorf("%s answers with a document of its own", path)
			}
		}
		return err
	})
	if err != nil || found != 3 {
		t.Errorf("found %d uses, %v; want three: the document, its preflight, and the making of it", found, err)
	}
}
