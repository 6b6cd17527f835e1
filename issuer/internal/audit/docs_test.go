package audit

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// declared are the actions and the kinds of actor that the source has.
func declared(t *testing.T) (actions, kinds []string) {
	t.Helper()
	source, err := os.ReadFile("audit.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t[A-Z]\w+ +Action = "([a-z_.]+)"`).FindAllStringSubmatch(string(source), -1) {
		actions = append(actions, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^\tKind[A-Z]\w+ += "([a-z]+)"`).FindAllStringSubmatch(string(source), -1) {
		kinds = append(kinds, m[1])
	}
	if len(actions) < 30 || len(kinds) < 4 {
		t.Fatalf("found only %d actions and %d kinds of actor", len(actions), len(kinds))
	}
	return actions, kinds
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// firstCells are the names in the first cells of a table of docs/audit.md.
func firstCells(t *testing.T, page, heading string) (names []string) {
	t.Helper()
	_, part, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/audit.md has no part %q", heading)
	}
	part, _, _ = strings.Cut(part, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|").FindAllStringSubmatch(part, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			names = append(names, name[1])
		}
	}
	return names
}

// Every action and every kind of actor is in docs/audit.md, once, and nothing else is; the contract names the actions too.
func TestEveryActionIsDocumented(t *testing.T) {
	t.Parallel()
	page := read(t, "../../../docs/audit.md")
	actions, kinds := declared(t)
	for heading, want := range map[string][]string{"What": actions, "Who": kinds} {
		got := slices.DeleteFunc(firstCells(t, page, heading), func(name string) bool { return name == "kind" || name == "action" })
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("docs/audit.md, %s:\n%q\nwant\n%q", heading, got, want)
		}
	}
	contract := read(t, "../../api/openapi.yaml")
	_, contract, _ = strings.Cut(contract, "\n    AuditRecord:\n")
	contract, _, _ = strings.Cut(contract, "\n    AuditRecordList:\n")
	for _, a := range actions {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(a) + `\b`).MatchString(contract) {
			t.Errorf("issuer/api/openapi.yaml: AuditRecord does not name %s", a)
		}
	}
}

// The examples of docs/audit.md are records: of actors and actions there are, and one of each kind.
func TestDocumentedRecords(t *testing.T) {
	t.Parallel()
	actions, kinds := declared(t)
	for _, m := range regexp.MustCompile("(?s)\n```json\n\\{(.*?)```").FindAllStringSubmatch(read(t, "../../../docs/audit.md"), -1) {
		var body bytes.Buffer
		if err := json.Compact(&body, []byte(`{"v":1,`+m[1])); err != nil {
			t.Fatal(err)
		}
		strict := json.NewDecoder(bytes.NewReader(body.Bytes()))
		strict.DisallowUnknownFields()
		if err := strict.Decode(new(encoded)); err != nil {
			t.Errorf("%v: %s", err, body.Bytes())
		}
		r, err := Decode(EncodingVersion, body.Bytes())
		if err != nil {
			t.Errorf("%v: %s", err, body.Bytes())
			continue
		}
		if err := r.Actor.Validate(); err != nil || !slices.Contains(actions, string(r.Action)) {
			t.Errorf("%v, action %s: %s", err, r.Action, body.Bytes())
		}
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == r.Actor.Kind })
	}
	if len(kinds) != 0 {
		t.Errorf("docs/audit.md has no record of %q", kinds)
	}
}
