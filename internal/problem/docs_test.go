package problem

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// codes in the source: of composite literals, and of the constructors the validating packages have.
var codeInSource = regexp.MustCompile(`Code: "([a-z][a-z0-9_]*)"|invalid\("[^"]*", "([a-z][a-z0-9_]*)"`)

var codeInDocs = regexp.MustCompile(`(?m)^### ([a-z][a-z0-9_]*)$`)

// The type of a problem is the address of its explanation: every code has one. Codes of extauthz's denials are documented with its reasons.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	const root = "../.."
	docs, err := os.ReadFile(filepath.Join(root, "docs/problems.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]int{}
	for _, m := range codeInDocs.FindAllStringSubmatch(string(docs), -1) {
		explained[m[1]]++
		if explained[m[1]] > 1 {
			t.Errorf("%s is explained twice: its anchor would change", m[1])
		}
	}
	used := map[string]string{}
	for k := range Kind(len(table)) {
		used[k.Code()] = "the table of kinds"
	}
	for _, folder := range []string{"issuer", "internal/web"} {
		for code, path := range codesUnder(t, filepath.Join(root, folder)) {
			used[code] = path
		}
	}
	if len(used) < 40 {
		t.Errorf("found only %d codes in the source", len(used))
	}
	for code, path := range used {
		if explained[code] == 0 {
			t.Errorf("%s of %s is not explained in docs/problems.md", code, path)
		}
	}
}

func codesUnder(t *testing.T, folder string) map[string]string {
	t.Helper()
	codes := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range codeInSource.FindAllStringSubmatch(string(source), -1) {
			codes[m[1]+m[2]] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return codes
}
