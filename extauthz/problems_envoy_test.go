package extauthz_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	problems "github.com/agentidp/agentidp/internal/problem"
)

// Who is denied learns what would have been enough, and where it is explained.
func TestEdgeProblemsLeadSomewhere(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	e := newEdge(t, "")
	e.write(t, "policies/authz.rego", `package agentidp.authz

default allow := false

allow := {"allowed": false, "reason": {"code": "insufficient_scope", "detail": "Writing needs a scope.", "required_scopes": ["orders:write", "orders:list"]}} if input.parsed_path == ["scope"]

allow := {"allowed": false, "reason": {"code": "closed_today", "detail": concat("", [x | numbers.range(1, 256)[_]; x := "<"])}} if input.parsed_path == ["own"]

allow := "neither" if input.parsed_path == ["broken"]
`)
	e.startHere(t)
	e.startEnvoy(t)
	good := e.bearer(t)
	for name, tc := range map[string]struct {
		target    string
		headers   []string
		status    int
		code      string
		challenge string
	}{
		"scope missing": {"/scope", []string{good}, 403, "insufficient_scope", `Bearer realm="agentidp", error="insufficient_scope", error_description="Writing needs a scope.", scope="orders:write orders:list"`},
		"denied":        {"/else", []string{good}, 403, "policy_denied", ""},
		"no token":      {"/else", nil, 401, "credential_missing", `Bearer realm="agentidp", DPoP realm="agentidp", algs="ES256 EdDSA PS256"`},
		"bad path":      {"/else;x", []string{good}, 400, "request_path", ""},
		"cannot decide": {"/broken", []string{good}, 503, "cannot_decide", ""},
		"its own":       {"/own", []string{good}, 403, "closed_today", ""},
	} {
		before := e.service.Count()
		a := e.get(t, tc.target, tc.headers...)
		doc := problem(t, a)
		if a.Status != tc.status || e.service.Count() != before || doc["code"] != tc.code || len(a.Body) > 1<<10 {
			t.Errorf("%s: status %d, %d bytes: %s; want %d %s", name, a.Status, len(a.Body), a.Body, tc.status, tc.code)
		}
		if got := a.Header.Get("WWW-Authenticate"); got != tc.challenge {
			t.Errorf("%s: WWW-Authenticate %q, want %q", name, got, tc.challenge)
		}
		want := problems.TypeURI(tc.code)
		if name == "its own" {
			want = "about:blank"
		} else if !strings.Contains(string(page), `<a id="`+tc.code+`"></a>`) {
			t.Errorf("%s: nothing explains %s", name, tc.code)
		}
		if doc["type"] != want || doc["title"] != http.StatusText(tc.status) {
			t.Errorf("%s: %v, want type %s", name, doc, want)
		}
	}
}
