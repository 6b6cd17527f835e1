package policy

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Within reports whether a data path such as a/b lies in a root such as a; everything lies in "".
func Within(name, root string) bool {
	return root == "" || name == root || strings.HasPrefix(name, root+"/")
}

// CheckRoots holds the sources of a bundle to the roots its manifest claims, as OPA does: whoever builds a bundle has said what it owns, and what
// lies elsewhere is in it by mistake. It is for sources that Compile has accepted: what cannot be parsed is not its business. The error is a *CompileError.
func CheckRoots(sources []Source, roots []string, cfg Config) error {
	var problems []Problem
	for _, s := range sources {
		switch {
		case isModule(s.Name):
			module, err := ast.ParseModuleWithOpts(s.Name, string(s.Data), ast.ParserOptions{RegoVersion: cfg.regoVersion(), Capabilities: profileFor(cfg).capabilities()})
			if err != nil || module == nil {
				continue
			}
			if name, err := module.Package.Path.Ptr(); err != nil || !isOwned(name, roots) {
				problems = append(problems, Problem{File: s.Name, Line: module.Package.Location.Row, Message: fmt.Sprintf("%s is outside of the roots of the bundle", module.Package)})
			}
		case isData(s.Name):
			doc, problem := parseData(s)
			if problem != nil {
				continue
			}
			if at, ok := strayData("", mountAt(path.Dir(s.Name), doc), roots); !ok {
				problems = append(problems, Problem{File: s.Name, Message: fmt.Sprintf("data at %q is outside of the roots of the bundle", oneLine(at))})
			}
		}
	}
	if len(problems) > 0 {
		return newCompileError(problems...)
	}
	return nil
}

func isOwned(name string, roots []string) bool {
	for _, root := range roots {
		if Within(name, root) {
			return true
		}
	}
	return false
}

// strayData finds a value outside of the roots. An object on the way to a root is nobody's.
func strayData(at string, v any, roots []string) (stray string, ok bool) {
	if isOwned(at, roots) {
		return "", true
	}
	object, isObject := v.(map[string]any)
	if !isObject || at != "" && !leads(at, roots) {
		return at, false
	}
	for name, member := range object {
		if stray, ok := strayData(strings.TrimPrefix(at+"/"+url.PathEscape(name), "/"), member, roots); !ok { // a name may hold a slash
			return stray, false
		}
	}
	return "", true
}

// leads reports whether a root lies in the path.
func leads(at string, roots []string) bool {
	for _, root := range roots {
		if Within(root, at) {
			return true
		}
	}
	return false
}
