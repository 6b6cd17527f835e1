package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"
)

// function is a builtin of ours. Those with replaces set stand in for one of OPA's: modules are rewritten to call it
// before they are compiled, since OPA's own table is one for the whole process and is never changed here.
type function struct {
	name             string
	replaces         string
	decl             *types.Function
	nondeterministic bool
	impl             rego.BuiltinDyn
}

func (f function) declaration() *ast.Builtin {
	return &ast.Builtin{Name: f.name, Decl: f.decl, Nondeterministic: f.nondeterministic}
}

func (f function) option() func(*rego.Rego) {
	return rego.FunctionDyn(&rego.Function{Name: f.name, Decl: f.decl, Nondeterministic: f.nondeterministic}, f.impl)
}

// rewriteCalls makes a parsed module call our functions instead of the ones they replace, also where they are mocked.
func rewriteCalls(module *ast.Module, functions []function) {
	for _, f := range functions {
		if f.replaces == "" {
			continue
		}
		old, ours := ast.MustParseRef(f.replaces), ast.MustParseRef(f.name)
		ast.WalkTerms(module, func(t *ast.Term) bool {
			if ref, ok := t.Value.(ast.Ref); ok && ref.Equal(old) {
				t.Value = ours
			}
			return false
		})
	}
}
