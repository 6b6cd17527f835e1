package decisionlog

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/extauthz/internal/identity"
)

func TestCheckPointer(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"/input": true, "/input/a~1b/c~0d": true, "/result/headers": true, "/input/": true,
		"": false, "input": false, "/": false, "/labels": false, "/input/~": false, "/input/~2": false, "/inputs/a": false,
		"/input/" + strings.Repeat("a", pointerBytesMax): false,
	} {
		if err := CheckPointer(text); (err == nil) != good {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// What a pointer names is gone and listed; what is not there is not listed, and nothing the request holds is changed.
func TestMaskErases(t *testing.T) {
	t.Parallel()
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 1, Mask: []string{
		"/input/attributes/request/http/headers/accept", "/input/attributes/contextExtensions/route", "/input/identity/tokenId", "/result/headers",
		"/input/absent/member", "/input/attributes/request/http/headers/authorization", "/input/parsed_path/0",
	}})
	r := request(t)
	record := Record{
		DecisionID: "d", Request: r, Identity: &identity.Identity{TokenID: "secret-id"}, Decision: map[string]any{"allowed": true, "headers": map[string]any{"x": "secret-header"}},
		Shadow: &Shadow{Decision: map[string]any{"headers": map[string]any{"x": "secret-header"}}},
	}
	l.Add(record)
	closed(t, l)
	for _, secret := range []string{"secret-id", "secret-header", "*/*", canary, `"route"`} {
		if bytes.Contains(out.written[0], []byte(secret)) {
			t.Errorf("%s is in %s", secret, out.written[0])
		}
	}
	var got struct {
		Erased []string
		Masked []string
	}
	if err := json.Unmarshal(out.written[0], &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/input/attributes/request/http/headers/accept", "/input/attributes/contextExtensions/route", "/input/identity/tokenId", "/result/headers",
		"/input/attributes/request/http/headers/authorization",
	}
	if !slices.Equal(got.Erased, want) {
		t.Errorf("erased %q, want %q", got.Erased, want)
	}
	if r.Extensions["route"] != "r" || len(record.Decision.(map[string]any)) != 2 {
		t.Error("the record was changed")
	}
}

func TestMaskErasesEverything(t *testing.T) {
	t.Parallel()
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 1, Mask: []string{"/input", "/result"}})
	l.Add(Record{DecisionID: "d", Request: request(t), Decision: true, Shadow: &Shadow{Decision: true}})
	l.Add(Record{DecisionID: "e"})
	closed(t, l)
	for n, want := range []string{`"erased":["/input","/result"]`, `"decision_id":"e"`} {
		if line := out.written[n]; !bytes.Contains(line, []byte(want)) || bytes.Contains(line, []byte(`"input":`)) || bytes.Contains(line, []byte(`"result":true`)) {
			t.Errorf("%s", line)
		}
	}
	if bytes.Contains(out.written[1], []byte("erased")) {
		t.Errorf("nothing was erased here: %s", out.written[1])
	}
}
