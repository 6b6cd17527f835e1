package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	fileLinesMax        = 450
	testFileLinesMax    = 800
	functionLinesMax    = 80
	interfaceMethodsMax = 12
)

type file struct {
	path  string // slash path from the module root
	lines int
	ast   *ast.File
	fset  *token.FileSet
}

func (f file) test() bool      { return strings.HasSuffix(f.path, "_test.go") }
func (f file) generated() bool { return ast.IsGenerated(f.ast) }
func (f file) dir() string     { return filepath.ToSlash(filepath.Dir(f.path)) }

var sources = sync.OnceValues(func() ([]file, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	var all []file
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, file{filepath.ToSlash(rel), strings.Count(string(src), "\n"), parsed, fset})
		return nil
	})
	if err == nil && len(all) < 20 {
		err = fmt.Errorf("found only %d Go files under %s", len(all), root)
	}
	return all, err
})

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "ARCHITECTURE.md")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no ARCHITECTURE.md above the working directory")
		}
	}
}

func load(t *testing.T) []file {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, f := range load(t) {
		if f.generated() {
			continue
		}
		limit := fileLinesMax
		if f.test() {
			limit = testFileLinesMax
		}
		if f.lines > limit {
			t.Errorf("%s has %d lines (limit %d): cut it along its meaning", f.path, f.lines, limit)
		}
		if f.test() {
			continue
		}
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			lines := f.fset.Position(fn.Body.End()).Line - f.fset.Position(fn.Body.Pos()).Line
			if lines > functionLinesMax {
				t.Errorf("%s: %s has %d lines (limit %d)", f.path, fn.Name.Name, lines, functionLinesMax)
			}
		}
	}
}

func TestInterfacesAreSmall(t *testing.T) {
	t.Parallel()
	for _, f := range load(t) {
		if f.generated() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if i, ok := spec.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > interfaceMethodsMax {
					t.Errorf("%s: interface %s has %d methods (limit %d)", f.path, spec.Name.Name, i.Methods.NumFields(), interfaceMethodsMax)
				}
			}
			return true
		})
	}
}

func TestDocumentation(t *testing.T) {
	t.Parallel()
	docs := map[string][]string{}
	for _, f := range load(t) {
		if f.test() {
			continue
		}
		if f.ast.Doc != nil {
			docs[f.dir()] = append(docs[f.dir()], f.path)
		} else if _, known := docs[f.dir()]; !known {
			docs[f.dir()] = nil
		}
		if f.generated() || f.ast.Name.Name == "main" {
			continue
		}
		for _, decl := range f.ast.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%s: exported %s has no comment", f.path, name)
			}
		}
	}
	for dir, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments %v, want exactly one", dir, len(files), files)
		}
	}
}

// undocumented lists the exported names of a declaration without a comment. A comment on a group documents its members; methods with well-known names need none.
func undocumented(decl ast.Decl) []string {
	var names []string
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() || d.Doc != nil {
			return nil
		}
		if d.Recv != nil && (!exportedReceiver(d.Recv) || slices.Contains([]string{"Error", "String", "Unwrap", "MarshalText", "UnmarshalText", "MarshalJSON", "MarshalYAML", "UnmarshalYAML", "GoString", "LogValue"}, d.Name.Name)) {
			return nil
		}
		names = append(names, d.Name.Name)
	case *ast.GenDecl:
		if d.Doc != nil || enumeration(d) {
			return nil
		}
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && s.Doc == nil && s.Comment == nil {
					names = append(names, s.Names[0].Name)
				}
			}
		}
	}
	return names
}

// enumeration reports whether a group is the values of one named type, which its type's comment documents.
func enumeration(d *ast.GenDecl) bool {
	first, ok := d.Specs[0].(*ast.ValueSpec)
	return ok && d.Tok == token.CONST && first.Type != nil
}

func exportedReceiver(recv *ast.FieldList) bool {
	t := recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// banned calls and the packages that may make them.
var banned = []struct {
	pkg, name string
	allowed   []string
	why       string
}{
	{"os", "Getenv", []string{"internal/localsvc", "internal/testkit", "internal/testkit/withpostgres", "cmd/agentidp"}, "configuration has one source (D13)"},
	{"os", "LookupEnv", []string{"internal/config"}, "configuration has one source (D13)"},
	{"net/http", "DefaultClient", nil, "requests go out through internal/fetch"},
	{"net/http", "Get", nil, "requests go out through internal/fetch"},
	{"net/http", "Post", nil, "requests go out through internal/fetch"},
	{"log", "Fatal", nil, "only main exits, by its return value"},
	{"log", "Printf", nil, "log/slog with the logger handed in (D14)"},
	{"fmt", "Println", []string{"cmd"}, "output belongs to commands"},
	{"fmt", "Printf", []string{"cmd"}, "output belongs to commands"},
	{"time", "Sleep", nil, "await the event"},
}

func TestBannedCalls(t *testing.T) {
	t.Parallel()
	for _, f := range load(t) {
		if f.test() || strings.HasPrefix(f.path, "internal/tools/") {
			continue
		}
		imports := map[string]string{}
		for _, imp := range f.ast.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			name := path[strings.LastIndex(path, "/")+1:]
			if imp.Name != nil {
				name = imp.Name.Name
			}
			imports[name] = path
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, b := range banned {
				if imports[x.Name] != b.pkg || sel.Sel.Name != b.name {
					continue
				}
				if !slices.ContainsFunc(b.allowed, func(a string) bool { return f.dir() == a || strings.HasPrefix(f.dir(), a+"/") }) {
					t.Errorf("%s: %s.%s: %s", f.fset.Position(sel.Pos()), b.pkg, b.name, b.why)
				}
			}
			return true
		})
	}
}

func TestNoInitFunctions(t *testing.T) {
	t.Parallel()
	for _, f := range load(t) {
		if f.generated() {
			continue
		}
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init function: effects belong in constructors", f.path)
			}
		}
	}
}

func TestNoSkippedTests(t *testing.T) {
	t.Parallel()
	for _, f := range load(t) {
		if !f.test() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				if x, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "tb"}, x.Name) {
					t.Errorf("%s: a missing part fails with its install command, nothing is skipped", f.fset.Position(sel.Pos()))
				}
			}
			return true
		})
	}
}

// Each decision is in the list of decisions, and the other way round.
func TestDecisionsAreListed(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(root, "docs/adr/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(root, "docs/adr/0*.md"))
	if err != nil || len(records) == 0 || len(records) != strings.Count(string(list), "\n| [0") {
		t.Errorf("%d records, %d listed, %v", len(records), strings.Count(string(list), "\n| [0"), err)
	}
	for _, r := range records {
		if !strings.Contains(string(list), "]("+filepath.Base(r)+")") {
			t.Errorf("docs/adr/README.md does not list %s", filepath.Base(r))
		}
	}
	// The numbers between the records are said to be free, and no others.
	var missing []string
	last, _ := strconv.Atoi(filepath.Base(records[len(records)-1])[:4])
	for n := range last {
		number := fmt.Sprintf("%04d-", n+1)
		if !slices.ContainsFunc(records, func(r string) bool { return strings.HasPrefix(filepath.Base(r), number) }) {
			missing = append(missing, strconv.Itoa(n+1))
		}
	}
	said := regexp.MustCompile(`, and ([0-9, and]+) are not yet taken\.`).FindStringSubmatch(string(list))
	if said == nil || strings.Join(missing, ", ") != strings.ReplaceAll(said[1], " and ", ", ") {
		t.Errorf("docs/adr/README.md says of numbers %q; not taken are %v", said, missing)
	}
}

// A fresh clone holds what is written here, and nothing of the machine it was written on: no link that leads out of the tree, no file that .gitignore names.
func TestNothingLocalIsTracked(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, ".git")); os.IsNotExist(err) {
		return // no checkout: nothing is tracked
	}
	git := func(arguments ...string) string {
		out, err := exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", root, "ls-files"}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git ls-files %q: %v: %s", arguments, err, out)
		}
		return string(out)
	}
	for line := range strings.Lines(git("--stage")) {
		if strings.HasPrefix(line, "120000 ") {
			t.Errorf("a symbolic link: %s", line)
		}
	}
	if ignored := git("--cached", "--ignored", "--exclude-standard"); ignored != "" {
		t.Errorf("tracked, and ignored by .gitignore:\n%s", ignored)
	}
}

var elsewhere = regexp.MustCompile(`(?i)\bdesign\.md\b|\bthe design's\b|\bdesign [0-9]`)

// Whoever has the repository has everything that it refers to.
func TestNothingRefersToWhatIsNotHere(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); ext != ".go" && ext != ".md" && ext != ".rego" && ext != ".yaml" || strings.HasSuffix(path, "tidy_test.go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if seen++; err == nil && elsewhere.Match(content) {
			t.Errorf("%s refers to %q", path, elsewhere.Find(content))
		}
		return err
	})
	if err != nil || seen < 100 {
		t.Errorf("%d files, %v", seen, err)
	}
}
