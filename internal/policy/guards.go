package policy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

const (
	guardedPrefix = "agentidp.guarded."

	textMax   = 16 << 20 // bytes of one text that a function makes
	indentMax = 64       // bytes of indentation in json.marshal_with_options
	widthStar = 1 << 20  // what Go lets a width be that is an argument
)

var errTextTooLarge = errors.New("the text would be longer than 16 MiB")

// guards are checks before functions that make something larger than what they are given, or write it out, in one call that
// nothing interrupts. All of them are also held to sizes.
var guards = map[string]func(*sizes, []*ast.Term) error{
	"array.concat": nil, "array.flatten": nil, "object.union": nil, "object.union_n": nil, "union": nil, "or": nil,
	"json.filter": nil, "json.marshal": nil, "json.remove": nil, "internal.template_string": nil,
	"base64.encode": nil, "base64url.encode": nil, "base64url.encode_no_pad": nil, "hex.encode": nil,
	"glob.quote_meta": nil, "urlquery.encode": nil, "urlquery.encode_object": nil,

	"json.patch":                patchGuard,
	"json.marshal_with_options": indentGuard,
	"sprintf":                   formatGuard,
	"concat":                    func(_ *sizes, terms []*ast.Term) error { return product(count(terms[1]), textLen(terms[0])) },
	"regex.replace":             func(_ *sizes, terms []*ast.Term) error { return product(textLen(terms[0])+1, textLen(terms[2])) },
	"replace": func(_ *sizes, terms []*ast.Term) error {
		return product(occurrences(terms[0], terms[1]), textLen(terms[2]))
	},
	"strings.replace_n": replacementsGuard,
}

// guard changes compiled rules: they build what they write, and call guarded functions.
func (c *compiled) guard() []Problem {
	buildValues(c.compiler)
	c.profile.extra = append(slices.Clip(c.profile.extra), builtFunction(c.sizes))
	for name, check := range guards {
		c.profile.extra = append(c.profile.extra, c.sizes.guarded(name, check))
	}
	var problems []Problem
	for _, module := range c.compiler.Modules {
		ast.WalkExprs(module, func(expr *ast.Expr) bool {
			if terms, ok := expr.Terms.([]*ast.Term); ok {
				terms[0] = guardedTerm(terms[0])
			}
			for _, with := range expr.With {
				if with.Target = guardedTerm(with.Target); guardedTerm(with.Value) != with.Value {
					at := location(with.Location, "")
					problems = append(problems, Problem{at.File, at.Line, fmt.Sprintf("%v cannot stand in for another function", with.Value)})
				}
			}
			return false
		})
	}
	return problems
}

// guardedTerm is a reference to the guarded function, for a reference to one that must be guarded.
func guardedTerm(t *ast.Term) *ast.Term {
	ref, ok := t.Value.(ast.Ref)
	if !ok || ref[0].Equal(ast.DefaultRootDocument) || ref[0].Equal(ast.InputRootDocument) {
		return t
	}
	name := ref.String()
	if _, ok := guards[name]; !ok {
		return t
	}
	return ast.NewTerm(ast.MustParseRef(guardedPrefix + name)).SetLocation(t.Location)
}

// guarded is a function of OPA's that stops the evaluation, instead, when its operands are too large. It does not merely
// give no result: a rule that denies unless there is one would allow.
func (s *sizes) guarded(name string, check func(*sizes, []*ast.Term) error) function {
	implementation := topdown.GetBuiltin(name)
	return function{
		name: guardedPrefix + name, decl: ast.BuiltinMap[name].Decl,
		impl: func(bctx rego.BuiltinContext, terms []*ast.Term) (result *ast.Term, err error) {
			if !s.fit(terms...) {
				return nil, endTooLarge(bctx, errTooLarge)
			}
			if check != nil {
				if err := check(s, terms); err != nil {
					return nil, endTooLarge(bctx, err)
				}
			}
			err = implementation(bctx, terms, func(t *ast.Term) error {
				result = t
				return nil
			})
			return result, err
		},
	}
}

func textLen(t *ast.Term) int {
	s, _ := t.Value.(ast.String)
	return len(s)
}

func count(t *ast.Term) int {
	if v, ok := t.Value.(interface{ Len() int }); ok {
		return v.Len()
	}
	return 0
}

func product(n, length int) error {
	if n > 0 && length > textMax/n {
		return errTextTooLarge
	}
	return nil
}

func occurrences(in, of *ast.Term) int {
	text, _ := in.Value.(ast.String)
	old, _ := of.Value.(ast.String)
	return strings.Count(string(text), string(old))
}

// replacementsGuard is for {"old": "new", …} and a text.
func replacementsGuard(_ *sizes, terms []*ast.Term) error {
	longest := 0
	children(terms[0].Value, func(v ast.Value) bool {
		longest = max(longest, textLen(ast.NewTerm(v)))
		return true
	})
	return product(textLen(terms[1])+1, longest)
}

// patchGuard holds a patch to the limit as if each copy in it doubled the document, which one that copies it into itself does.
func patchGuard(s *sizes, terms []*ast.Term) error {
	left := s.size(terms...)
	children(terms[1].Value, func(v ast.Value) bool {
		if o, ok := v.(ast.Object); ok {
			if op := o.Get(ast.InternedTerm("op")); op != nil && op.Value.Compare(ast.String("copy")) == 0 {
				left *= 2
			}
		}
		return left <= s.limit
	})
	if left > s.limit {
		return errTooLarge
	}
	return nil
}

func indentGuard(_ *sizes, terms []*ast.Term) error {
	if o, ok := terms[1].Value.(ast.Object); ok {
		for _, name := range []string{"indent", "prefix"} {
			if t := o.Get(ast.StringTerm(name)); t != nil && textLen(t) > indentMax {
				return fmt.Errorf("%s is longer than %d bytes", name, indentMax)
			}
		}
	}
	return nil
}

// formatGuard bounds the widths in a format, and how often it prints its longest argument.
func formatGuard(s *sizes, terms []*ast.Term) error {
	format, _ := terms[0].Value.(ast.String)
	total, verbs, chosen := 0, 0, false
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		verbs++
		n := 0
	verb:
		for i++; i < len(format); i++ {
			switch c := format[i]; {
			case c >= '0' && c <= '9':
				n = min(10*n+int(c-'0'), textMax)
				continue
			case c == '*':
				n = widthStar
			case c == '[':
				chosen = true
			case strings.IndexByte("+-# .]", c) < 0:
				break verb
			}
			total, n = min(total+n, math.MaxInt32), 0
		}
		total = min(total+n, math.MaxInt32)
	}
	if total > textMax {
		return errTextTooLarge
	}
	if !chosen {
		return nil
	}
	return product(verbs, textPerValue*s.size(terms[1]))
}
