package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

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
