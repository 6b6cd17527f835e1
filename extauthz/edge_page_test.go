package extauthz_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	securityPage  = "../docs/security-edge.md"
	attacksOfEdge = 14 // E1 to E14
)

var (
	namedTest     = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	namedAdvisory = regexp.MustCompile(`CVE-\d{4}-\d+|GHSA(?:-[a-z0-9]{4}){3}|ISTIO-SECURITY-\d{4}-\d+`)
)

// sourceOfTest is the text of a test, with the comment above it, and of what it is given from its file: all of that file.
func sourceOfTest(t *testing.T, dir, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return string(text)
		}
	}
	return ""
}

// The page says what is tested. It must not say more, nor less: each test and advisory it names is there, and each advisory that the tests of
// the edge name is on it.
func TestSecurityEdgePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	rows, named := map[string]int{}, 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| ") || len(cells) < 4 {
			continue
		}
		tests := namedTest.FindAllStringSubmatch(line, -1)
		if first := strings.TrimSpace(cells[1]); first != "#" && first != "advisory" {
			rows[first]++
			if len(tests) == 0 {
				t.Errorf("no test in the row %s", line)
			}
		}
		var sources strings.Builder
		for _, test := range tests {
			named++
			source := sourceOfTest(t, test[1], test[2])
			if source == "" {
				t.Errorf("%s.%s is not there", test[1], test[2])
			}
			sources.WriteString(source)
		}
		for _, id := range namedAdvisory.FindAllString(cells[1], -1) {
			if !strings.Contains(sources.String(), id) {
				t.Errorf("%s is not named where its test is", id)
			}
		}
	}
	for n := 1; n <= attacksOfEdge; n++ {
		if id := "E" + strconv.Itoa(n); rows[id] == 0 {
			t.Errorf("no row %s", id)
		}
	}
	if named < 50 {
		t.Errorf("the page names %d tests: is it still read?", named)
	}
	for _, dir := range []string{".", "../manifests/envoy"} {
		for _, id := range advisoriesOf(t, dir) {
			if !strings.Contains(string(page), id) {
				t.Errorf("%s is tested in %s and not on the page", id, dir)
			}
		}
	}
}

func advisoriesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, namedAdvisory.FindAllString(string(text), -1)...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
