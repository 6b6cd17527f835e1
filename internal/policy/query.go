package policy

import (
	"errors"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// ErrQuery is what PathOf says about anything but a plain reference.
var ErrQuery = errors.New("want a reference to a rule and nothing else, such as data.envoy.authz.allow")

// PathOf turns the other way to name a decision, a query such as data.envoy.authz.allow, into a path. A query that does
// anything else (compare, call, iterate, bind, replace its input) is refused: what it would decide is not what one rule says.
func PathOf(query string) (string, error) {
	body, err := ast.ParseBodyWithOpts(query, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil || len(body) != 1 || body[0].Negated || len(body[0].With) > 0 {
		return "", ErrQuery
	}
	term, ok := body[0].Terms.(*ast.Term)
	if !ok {
		return "", ErrQuery
	}
	ref, ok := term.Value.(ast.Ref)
	if !ok || len(ref) < 2 || !ref[0].Equal(ast.DefaultRootDocument) {
		return "", ErrQuery
	}
	names := constantPath(ref[1:])
	if len(names) != len(ref)-1 {
		return "", ErrQuery
	}
	for _, name := range names {
		if name == "" || strings.Contains(name, "/") {
			return "", ErrQuery
		}
	}
	return strings.Join(names, "/"), nil
}
