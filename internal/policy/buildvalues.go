package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/types"
)

// built is an identity function. To call it, OPA must materialise its argument, which is all it is for; an argument beyond the limit of sizes ends the evaluation.
const built = "agentidp.built"

func builtFunction(s *sizes) function {
	return function{
		name: built, decl: types.NewFunction(types.Args(types.A), types.A),
		impl: func(bctx rego.BuiltinContext, terms []*ast.Term) (*ast.Term, error) {
			if !s.fit(terms[0]) {
				return nil, endTooLarge(bctx, errTooLarge)
			}
			return terms[0], nil
		},
	}
}

// buildValues changes compiled rules so that every list, object and set that is written with variables in it, and every
// comprehension, is built and measured where it stands.
//
// OPA binds a variable to what is written, and writes it out whenever somebody needs it: after y1 := [y0, y0], y2 := [y1, y1] … it
// writes out 2^n values for yn, in one step that nothing interrupts. Built at once, y2 is a list that has the same y1 twice, and its
// size is known before anybody compares or prints it.
func buildValues(compiler *ast.Compiler) {
	b := &builder{}
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			for ; rule != nil; rule = rule.Else {
				rule.Body = b.body(rule.Body, variables(rule.Head.Args))
			}
		}
	}
}

type builder struct{ fresh int }

// body returns a body in which bound are the variables that have values before it.
func (b *builder) body(body ast.Body, bound ast.VarSet) ast.Body {
	bound = bound.Copy()
	out := make(ast.Body, 0, len(body))
	for _, expr := range body {
		b.closures(expr, bound)
		terms, isCall := expr.Terms.([]*ast.Term)
		switch {
		case !isCall:
		case expr.IsEquality():
			for i := range terms[1:] {
				out, terms[i+1] = b.hoist(out, expr, terms[i+1], bound)
			}
		case expr.Operator()[0].Equal(ast.DefaultRootDocument):
			for i := range terms[1:] {
				out, terms[i+1] = b.hoist(out, expr, terms[i+1], bound)
				if ast.IsComprehension(terms[i+1].Value) && i < len(terms)-1 {
					v := b.variable(expr)
					out = append(out, equality(expr, v, terms[i+1]), call(expr, v))
					terms[i+1] = v
				}
			}
		}
		out = append(out, expr)
		if v, ok := comprehended(expr); ok {
			out = append(out, call(expr, v))
		}
		bound.Update(variables(expr))
	}
	for i := range out {
		out[i].Index = i
	}
	return out
}

// closures changes the bodies within an expression.
func (b *builder) closures(expr *ast.Expr, bound ast.VarSet) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			x.Body = b.body(x.Body, bound)
			return true
		case *ast.SetComprehension:
			x.Body = b.body(x.Body, bound)
			return true
		case *ast.ObjectComprehension:
			x.Body = b.body(x.Body, bound)
			return true
		case *ast.Every:
			inner := bound.Copy()
			inner.Update(x.KeyValueVars())
			x.Body = b.body(x.Body, inner)
			return true
		}
		return false
	}).Walk(expr)
}

// hoist puts calls of built for what is written in term, as far as its variables have values, before the expression it is part of.
func (b *builder) hoist(out ast.Body, expr *ast.Expr, term *ast.Term, bound ast.VarSet) (ast.Body, *ast.Term) {
	if !composite(term.Value) || term.IsGround() {
		return out, term
	}
	if plain(term) && len(variables(term).Diff(bound)) == 0 {
		v := b.variable(expr)
		return append(out, call(expr, term, v)), v
	}
	switch x := term.Value.(type) {
	case *ast.Array:
		elements := make([]*ast.Term, x.Len())
		for i := range elements {
			out, elements[i] = b.hoist(out, expr, x.Elem(i), bound)
		}
		return out, ast.NewTerm(ast.NewArray(elements...)).SetLocation(term.Location)
	case ast.Object:
		pairs := make([][2]*ast.Term, 0, x.Len())
		x.Foreach(func(key, value *ast.Term) {
			out, value = b.hoist(out, expr, value, bound)
			pairs = append(pairs, [2]*ast.Term{key, value})
		})
		return out, ast.NewTerm(ast.NewObject(pairs...)).SetLocation(term.Location)
	}
	return out, term
}

func (b *builder) variable(expr *ast.Expr) *ast.Term {
	b.fresh++
	return ast.VarTerm(fmt.Sprintf("__built%d__", b.fresh)).SetLocation(expr.Location)
}

func call(at *ast.Expr, operands ...*ast.Term) *ast.Expr {
	return generated(at, append([]*ast.Term{ast.NewTerm(ast.MustParseRef(built))}, operands...))
}

func equality(at *ast.Expr, x, y *ast.Term) *ast.Expr {
	return generated(at, []*ast.Term{ast.NewTerm(ast.Equality.Ref()), x, y})
}

func generated(at *ast.Expr, terms []*ast.Term) *ast.Expr {
	expr := ast.NewExpr(terms)
	expr.Generated, expr.Location = true, at.Location
	return expr
}

// comprehended returns the variable that an expression binds to a comprehension. Under not nothing is bound: what is compared there has its value already, which may be false, and would
// be a condition of its own.
func comprehended(expr *ast.Expr) (*ast.Term, bool) {
	if !expr.IsEquality() || expr.Negated {
		return nil, false
	}
	x, y := expr.Operand(0), expr.Operand(1)
	if ast.IsComprehension(x.Value) {
		x, y = y, x
	}
	_, named := x.Value.(ast.Var)
	return x, named && ast.IsComprehension(y.Value)
}

// plain reports whether a term holds nothing that must be evaluated.
func plain(term *ast.Term) bool {
	is := true
	ast.WalkTerms(term, func(t *ast.Term) bool {
		switch t.Value.(type) {
		case ast.Ref, ast.Call, *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.TemplateString:
			is = false
		}
		return !is
	})
	return is
}

// variables are those of x itself, not of the bodies within it.
func variables(x any) ast.VarSet {
	visitor := ast.NewVarVisitor().WithParams(ast.VarVisitorParams{SkipClosures: true, SkipRefCallHead: true, SkipWithTarget: true})
	visitor.Walk(x)
	return visitor.Vars()
}
