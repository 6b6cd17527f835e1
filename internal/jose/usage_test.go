package jose_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The library may be imported by this folder only, and of it only what is listed here. Everything else it offers
// accepts more than this system does, or fetches keys on its own (docs/adr/0001).
const (
	libraryPrefix = "github.com/lestrrat-go/jwx"
	libraryHome   = "internal/jose"
)

var libraryAllowed = map[string][]string{
	"github.com/lestrrat-go/jwx/v2/jws": {"NewVerifier", "NewSigner", "Signer"},
	"github.com/lestrrat-go/jwx/v2/jwa": {"SignatureAlgorithm", "ES256", "EdDSA", "RS256", "PS256"},
}

// libraryMisuses lists what a source file does with the library that it must not. name is relative to the repository.
func libraryMisuses(name string, source any) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var misuses []string
	at := func(pos token.Pos, format string, args ...any) {
		misuses = append(misuses, fmt.Sprintf("%s: %s", files.Position(pos), fmt.Sprintf(format, args...)))
	}
	allowed := map[string][]string{} // by the name the package has in this file
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if path != libraryPrefix && !strings.HasPrefix(path, libraryPrefix+"/") {
			continue
		}
		local := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		identifiers, known := libraryAllowed[path]
		switch {
		case filepath.ToSlash(filepath.Dir(name)) != libraryHome:
			at(spec.Pos(), "%s is imported outside %s", path, libraryHome)
		case !known:
			at(spec.Pos(), "%s is not imported at all", path)
		case local == "." || local == "_":
			at(spec.Pos(), "%s is imported as %s", path, local)
		default:
			allowed[local] = identifiers
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := selector.X.(*ast.Ident); ok {
			if identifiers, library := allowed[pkg.Name]; library && !slices.Contains(identifiers, selector.Sel.Name) {
				at(selector.Pos(), "%s.%s is not allowed", pkg.Name, selector.Sel.Name)
			}
		}
		return true
	})
	return misuses, nil
}

// TestOnlyTheAllowedCallsReachTheLibrary reads the source of the whole repository, tests included.
func TestOnlyTheAllowedCallsReachTheLibrary(t *testing.T) {
	t.Parallel()
	root := repositoryRoot(t)
	read := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		misuses, err := libraryMisuses(filepath.ToSlash(name), source)
		for _, misuse := range misuses {
			t.Error(misuse)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 20 {
		t.Errorf("only %d Go files below %s: is that the repository?", read, root)
	}
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the test")
	}
}

// TestMisusesAreSeen shows that the reader above has teeth: each of these would be found in the tree.
func TestMisusesAreSeen(t *testing.T) {
	t.Parallel()
	const v2 = `"github.com/lestrrat-go/jwx/v2/`
	tests := []struct {
		name, file, source string
		misuses            int
	}{
		{"what we do", "internal/jose/key.go", `import ` + v2 + `jws"; func f() { jws.NewVerifier("x") }`, 0},
		{"no import at all", "issuer/x.go", `func f(jws T) { jws.Parse() }`, 0},
		{"another package that is called jws", "issuer/x.go", `import "example.com/jws"; func f() { jws.Parse() }`, 0},
		{"import elsewhere", "extauthz/x.go", `import ` + v2 + `jws"; func f() { jws.NewVerifier("x") }`, 1},
		{"import in the corpus", "internal/jose/josetest/x.go", `import ` + v2 + `jwa"`, 1},
		{"another version", "internal/jose/x.go", `import "github.com/lestrrat-go/jwx/v3/jws"; func f() { jws.NewVerifier("x") }`, 1},
		{"the first version", "internal/jose/x.go", `import "github.com/lestrrat-go/jwx"`, 1},
		{"jwt", "internal/jose/x.go", `import ` + v2 + `jwt"; func f() { jwt.Parse(nil) }`, 1},
		{"jwt, renamed", "internal/jose/x.go", `import good ` + v2 + `jwt"`, 1},
		{"jwk", "internal/jose/x.go", `import ` + v2 + `jwk"; func f() { jwk.Fetch(nil, ""); jwk.NewCache(nil) }`, 1},
		{"jws.Verify", "internal/jose/x.go", `import ` + v2 + `jws"; func f() { jws.Verify(nil, jws.WithKeySet(nil)) }`, 2},
		{"jws.Parse, renamed", "internal/jose/x.go", `import j ` + v2 + `jws"; func f() { j.Parse(nil) }`, 1},
		{"key discovery", "internal/jose/x.go", `import ` + v2 + `jws"; var o = jws.WithVerifyAuto(nil)`, 1},
		{"as a value", "internal/jose/x.go", `import ` + v2 + `jws"; var parse = jws.ParseString`, 1},
		{"dot import", "internal/jose/x.go", `import . ` + v2 + `jws"; func f() { Parse(nil) }`, 1},
		{"replaced verifier", "internal/jose/x_test.go", `import ` + v2 + `jws"; func f() { jws.RegisterVerifier("ES256", nil) }`, 1},
		{"other algorithm", "internal/jose/x.go", `import ` + v2 + `jwa"; var a = jwa.HS256`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			misuses, err := libraryMisuses(tt.file, "package x; "+tt.source)
			if err != nil {
				t.Fatal(err)
			}
			if len(misuses) != tt.misuses {
				t.Errorf("found %q, want %d misuses", misuses, tt.misuses)
			}
		})
	}
}
