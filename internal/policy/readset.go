package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// ReadSet is what a decision reads of its input: a list of paths, none of them a prefix of another. It is complete: two
// inputs that agree on every path (value, or absence and at which depth) get the same decision, unless the policy can
// reach a nondeterministic function. A path ends where the policy goes on with something it computed, so it may say more
// than what is read, never less. A policy that uses input as a whole has the one empty path.
//
// OPA's own dependency analysis is not used: it follows aliases, and so for "x := input.a; not x.b" reports input.a.b
// alone, although the decision differs between an input with an empty a and one without a.
type ReadSet struct {
	paths  [][]string
	places []Location // where each path is read first
}

// Paths returns the paths, sorted.
func (s ReadSet) Paths() [][]string {
	paths := make([][]string, len(s.paths))
	for i, p := range s.paths {
		paths[i] = slices.Clone(p)
	}
	return paths
}

// Where is the place in the sources at which a path of Paths is read, the first one by file and line; zero for a path
// that is not among them.
func (s ReadSet) Where(path ...string) Location {
	for i, p := range s.paths {
		if slices.Equal(p, path) {
			return s.places[i]
		}
	}
	return Location{}
}

// Reads reports whether the value at path, a part of it, or something around it is read: whether an input builder has
// to fill it.
func (s ReadSet) Reads(path ...string) bool {
	return slices.ContainsFunc(s.paths, func(p []string) bool {
		n := min(len(p), len(path))
		return slices.Equal(p[:n], path[:n])
	})
}

// String lists the paths as "input.a.b input.c".
func (s ReadSet) String() string {
	texts := make([]string, len(s.paths))
	for i, p := range s.paths {
		texts[i] = strings.Join(append([]string{"input"}, p...), ".")
	}
	return strings.Join(texts, " ")
}

// read is one reference to the input.
type read struct {
	path []string
	at   Location
}

func newReadSet(reads []read) ReadSet {
	slices.SortFunc(reads, func(x, y read) int { return cmp.Or(slices.Compare(x.path, y.path), x.at.compare(y.at)) })
	var s ReadSet
	for _, r := range reads { // sorted: a prefix comes right before what it is a prefix of
		if n := len(s.paths); n > 0 && len(s.paths[n-1]) <= len(r.path) && slices.Equal(s.paths[n-1], r.path[:len(s.paths[n-1])]) {
			continue
		}
		s.paths, s.places = append(s.paths, r.path), append(s.places, r.at)
	}
	return s
}

// Location is a place in a policy's sources.
type Location struct {
	File    string
	Line    int
	Builtin string // what is called there, if that is what the location is of
}

func (l Location) compare(m Location) int {
	return cmp.Or(cmp.Compare(l.File, m.File), cmp.Compare(l.Line, m.Line), cmp.Compare(l.Builtin, m.Builtin))
}

// String is "mesh/authz.rego:12", without the parts that are not known.
func (l Location) String() string {
	if l.Line == 0 {
		return l.File
	}
	return l.File + ":" + strconv.Itoa(l.Line)
}

// analysis walks every rule the decision can reach and notes what it finds on the way.
type analysis struct {
	compiler         *ast.Compiler
	nondeterministic map[string]bool // by function name
	seen             map[*ast.Rule]bool
	reads            []read
	calls            []Location
}

func analyse(compiler *ast.Compiler, decision ast.Ref) (ReadSet, []Location) {
	a := &analysis{compiler: compiler, seen: map[*ast.Rule]bool{}, nondeterministic: map[string]bool{}}
	for _, b := range compiler.Capabilities().Builtins {
		a.nondeterministic[b.Name] = b.Nondeterministic
	}
	a.follow(decision)
	slices.SortFunc(a.calls, Location.compare)
	return newReadSet(a.reads), slices.Compact(a.calls)
}

// follow visits the rules that a reference may lead to: those at each step of its constant part, since a rule may define
// the document around what is referred to, and all below it.
func (a *analysis) follow(ref ast.Ref) {
	constant := ref.ConstantPrefix()
	for i := range constant {
		a.rules(a.compiler.GetRulesExact(constant[:i+1]))
	}
	a.rules(a.compiler.GetRulesWithPrefix(constant))
}

func (a *analysis) rules(rules []*ast.Rule) {
	for _, rule := range rules {
		if !a.seen[rule] {
			a.seen[rule] = true
			a.node(rule, rule.Location)
		}
	}
}

// node visits one part of a rule; at is the nearest location known.
func (a *analysis) node(x any, at *ast.Location) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if x.Location != nil {
				at = x.Location
			}
		case *ast.Term:
			if ref, ok := x.Value.(ast.Ref); ok {
				if x.Location != nil {
					at = x.Location
				}
				a.ref(ref, at)
				return true
			}
		case ast.Ref: // the head of a rule has references that are not terms
			a.ref(x, at)
			return true
		case ast.Var:
			if x.Equal(ast.InputRootDocument.Value) {
				a.reads = append(a.reads, read{[]string{}, location(at, "")})
			}
		}
		return false
	}).Walk(x)
}

func (a *analysis) ref(ref ast.Ref, at *ast.Location) {
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		a.reads = append(a.reads, read{constantPath(ref[1:]), location(at, "")})
	case ref[0].Equal(ast.DefaultRootDocument):
		a.follow(ref)
	default:
		if name := ref.String(); a.nondeterministic[name] {
			a.calls = append(a.calls, location(at, name))
		}
	}
	for _, part := range ref[1:] {
		a.node(part, at)
	}
	if _, named := ref[0].Value.(ast.Var); !named { // f(input)[_]
		a.node(ref[0], at)
	}
}

// constantPath is the part of a reference that names object members.
func constantPath(ref ast.Ref) []string {
	path := make([]string, 0, len(ref))
	for _, part := range ref {
		name, ok := part.Value.(ast.String)
		if !ok {
			break
		}
		path = append(path, string(name))
	}
	return path
}

func location(at *ast.Location, name string) Location {
	if name == decodeVerifyGuarded {
		name = decodeVerify
	}
	if at == nil {
		return Location{Builtin: name}
	}
	return Location{File: at.File, Line: at.Row, Builtin: name}
}
