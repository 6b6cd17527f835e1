package extauthz

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var reasonDeclaration = regexp.MustCompile(`(?m)^\s*(?:Reason|reason)[A-Za-z]*(?: +Reason)? += +"([a-z_]+)"`)

// Each reason the source declares is a code somebody will meet: docs/problems.md says what it means.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	_, edge, ok := strings.Cut(string(page), "## At the edge")
	if !ok {
		t.Fatal("docs/problems.md has no part for the edge")
	}
	table, inside, ok := strings.Cut(edge, "### Cannot decide")
	if !ok {
		t.Fatal("docs/problems.md does not say why nothing was decided")
	}
	noProblem := []string{reasonAllowed, reasonHealth, reasonPreflight, reasonMetadata}
	found := 0
	for _, pattern := range []string{"*.go", "internal/*/*.go", "../internal/jose/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range reasonDeclaration.FindAllStringSubmatch(string(source), -1) {
				found++
				if m[1] != "allowed" && !strings.Contains(edge, "`"+m[1]+"`") {
					t.Errorf("%s: %q is not in docs/problems.md", file, m[1])
				}
				if !strings.Contains(table, "<a id=\""+m[1]+"\"></a>") && !strings.Contains(inside, "`"+m[1]+"`") && !slices.Contains(noProblem, m[1]) {
					t.Errorf("%s: the type of a problem leads to %q, which docs/problems.md has not", file, m[1])
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("found only %d reasons in the source", found)
	}
}
