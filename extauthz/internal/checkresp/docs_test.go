package checkresp

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedHeaders holds the table of docs/extauthz.md, "What the service gets", against what is sent: each header in its place, how it is
// encoded, and where it ends.
func TestDocumentedHeaders(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../../docs/extauthz.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## What the service gets\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `(x-agent[^`]*)` \\|.*\\| ([a-z]+) \\| ([0-9,]+)[^|]* \\| ([^|]+) \\|$").FindAllStringSubmatch(section, -1)
	if len(rows) != len(callerHeaders) || strings.Count(section, "\n| `") != len(callerHeaders) {
		t.Fatalf("%d headers in the table, %d are sent", len(rows), len(callerHeaders))
	}
	const odd = "a%b"                  // has no one spelling
	long := strings.Repeat("é", 512/2) // the longest identifier
	fields := func(s string) Agent {
		return Agent{ID: s, Organization: s, Issuer: s, ClientID: s, Name: s, Origin: "federated", Scopes: []string{s}}
	}
	longest := Describe(Agent{
		ID: long, Organization: long, Issuer: long, ClientID: long, Origin: "federated",
		Name: strings.Repeat("n", 2*nameBytesMax), Scopes: strings.Fields(strings.Repeat("s ", 2*scopesBytesMax)),
	})
	empty, encoded := Describe(Agent{ID: "i", Organization: "o", Issuer: "s", Origin: "local"}), Describe(fields(odd))
	limit := func(n int) string {
		if n < 1000 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	for i, row := range rows {
		name, encoding, most, absent := row[1], row[2], row[3], row[4]
		if name != callerHeaders[i] {
			t.Errorf("row %d is of %s, want %s", i, name, callerHeaders[i])
		}
		if got := len(longest.values[i]); name != HeaderScopes && limit(got) != most || name == HeaderScopes && (most != limit(scopesBytesMax) || got > scopesBytesMax || got < scopesBytesMax-1) {
			t.Errorf("%s: at most %s, but %d were sent", name, most, got)
		}
		if got := encoded.values[i]; (encoding == "percent") != (got == "a%25b") || encoding != "percent" && encoding != "none" {
			t.Errorf("%s: encoding %s, but %q was sent", name, encoding, got)
		}
		if (absent == "never") != (empty.values[i] != "") {
			t.Errorf("%s is absent: %s, but %q was sent", name, absent, empty.values[i])
		}
	}
	example := regexp.MustCompile("`([^`]*)` is `([^`]*)`").FindStringSubmatch(section)
	if example == nil || encode(example[1], nameBytesMax) != example[2] || example[1] == example[2] {
		t.Errorf("the example is %q", example)
	}
}
