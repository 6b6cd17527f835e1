package extauthz_test

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"io/fs"
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
	namedAdvisory = regexp.MustCompile(`CVE-\d{4}-\d+|GHSA(?:-[a-z0-9]{4}){3}|ISTIO-SECURITY-\d{4}-\d+|istio (?:PR|issue) \d+`)
)

// testPackage is the test code of a folder: its functions and variables by name.
type testPackage map[string]ast.Node

func readTests(t *testing.T, dir string) testPackage {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	p := testPackage{}
	for _, name := range files {
		file, err := goparser.ParseFile(token.NewFileSet(), name, nil, goparser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					p[d.Name.Name] = d
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						p[v.Names[0].Name] = v
					}
				}
			}
		}
	}
	return p
}

// texts are the string literals of a function, and of the functions and variables of its package that it uses; runs says whether it has
// subtests. What comments say is no literal.
func (p testPackage) texts(name string) (texts []string, runs bool) {
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		node, ok := p[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		ast.Inspect(node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					texts = append(texts, text)
				}
			case *ast.SelectorExpr:
				runs = runs || n.Sel.Name == "Run"
			case *ast.Ident:
				visit(n.Name)
			}
			return true
		})
	}
	visit(name)
	return texts, runs
}

// The page says what is tested. It must not say more, nor less: each test it names is there, each advisory it names is the name of a subtest
// of the test it names, and each advisory that is the name of a subtest anywhere is on it.
func TestSecurityEdgePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]testPackage{}
	rows, named, section := map[string]int{}, 0, ""
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "## ") {
			section = strings.TrimSpace(line[3:])
		}
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| ") || len(cells) < 4 {
			continue
		}
		rows[strings.TrimSpace(cells[1])]++
		var texts []string
		runs := false
		for _, test := range namedTest.FindAllStringSubmatch(line, -1) {
			named++
			dir, name := test[1], test[2]
			if packages[dir] == nil {
				packages[dir] = readTests(t, dir)
			}
			if packages[dir][name] == nil {
				t.Errorf("%s.%s is not there", dir, name)
			}
			more, has := packages[dir].texts(name)
			texts, runs = append(texts, more...), runs || has
		}
		if section == "Advisories of others" {
			for _, id := range namedAdvisory.FindAllString(cells[1], -1) {
				if !runs || !slices.Contains(texts, id) {
					t.Errorf("%s is not the name of a subtest of what its row names", id)
				}
			}
		}
	}
	for n := 1; n <= attacksOfEdge; n++ {
		if id := "E" + strconv.Itoa(n); rows[id] == 0 {
			t.Errorf("no row %s", id)
		}
	}
	if named < 80 {
		t.Errorf("the page names %d tests: is it still read?", named)
	}
	for _, id := range testedAdvisories(t) {
		if !strings.Contains(string(page), id) {
			t.Errorf("%s is tested and not on the page", id)
		}
	}
}

// testedAdvisories are the ids that are texts of tests of the edge, and of what it uses.
func testedAdvisories(t *testing.T) (ids []string) {
	t.Helper()
	for _, root := range []string{"../extauthz", "../manifests", "../internal"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			p := readTests(t, strings.TrimPrefix(path, "../"))
			for name := range p {
				texts, _ := p.texts(name)
				for _, text := range texts {
					if namedAdvisory.FindString(text) == text && text != "" {
						ids = append(ids, text)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
