package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeBlock   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	codeSpan    = regexp.MustCompile("`[^`\n]*`")
	heading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
	namedAnchor = regexp.MustCompile(`<a id="([^"]+)">`)
	link        = regexp.MustCompile(`\]\(([^)\s]*)\)`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// anchors are those of a page: of its headings, as GitHub makes them, and those that are written out.
func anchors(page string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		all = append(all, anchor(m[1]))
	}
	for _, m := range namedAnchor.FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

func anchor(heading string) string {
	return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func pages(t *testing.T) map[string]string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all[file] = string(text)
		}
	}
	return all
}

// Each link within the repository leads to a file that is there, and to a heading of it.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	all, seen := pages(t), 0
	for file, text := range all {
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "`"), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			seen++
			to, fragment, _ := strings.Cut(m[1], "#")
			target := file
			if to != "" {
				target = filepath.Join(filepath.Dir(file), to)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", file, m[1])
			} else if page, known := all[target]; fragment != "" && known && !slices.Contains(anchors(page), fragment) {
				t.Errorf("%s: %s: no such heading", file, m[1])
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d links were found", seen)
	}
}

// The contents of docs/extauthz.md, which is long, list each of its parts once.
func TestContentsAreWhole(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	page := pages(t)[filepath.Join(root, "docs/extauthz.md")]
	contents, _, _ := strings.Cut(page, "\n## ")
	var listed, parts []string
	for _, m := range regexp.MustCompile(`\[([^\]]+)\]\(#`).FindAllStringSubmatch(contents, -1) {
		listed = append(listed, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		parts = append(parts, m[1])
	}
	slices.Sort(listed)
	slices.Sort(parts)
	if len(parts) < 20 || !slices.Equal(listed, parts) {
		t.Errorf("listed are %q, there are %q", listed, parts)
	}
}
