package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
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

const (
	decodeVerify        = "io.jwt.decode_verify"
	decodeVerifyGuarded = "agentidp.jwt.decode_verify"
)

// guardedDecodeVerify is io.jwt.decode_verify behind a fence: whatever it makes of a token it did not expect, the answer is "not
// valid" and the process goes on.
func guardedDecodeVerify() function {
	return function{
		name: decodeVerifyGuarded, replaces: decodeVerify,
		decl:             ast.BuiltinMap[decodeVerify].Decl,
		nondeterministic: true,
		impl: func(bctx rego.BuiltinContext, terms []*ast.Term) (result *ast.Term, err error) {
			defer func() {
				if recover() != nil {
					result = ast.ArrayTerm(ast.InternedTerm(false), ast.ObjectTerm(), ast.ObjectTerm())
					err = nil
				}
			}()
			// The result is only taken here: what the policy does with it runs after this function returned, so that
			// a panic of something else is never mistaken for a bad token.
			err = topdown.GetBuiltin(decodeVerify)(bctx, terms, func(t *ast.Term) error {
				result = t
				return nil
			})
			return result, err
		},
	}
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
