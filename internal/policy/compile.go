package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// Config of one policy.
type Config struct {
	Path          string        // data path of the decision, "agentidp/authz/allow"
	TokenBuiltins bool          // io.jwt.decode*, verify*: only for a policy that is shown tokens
	RegoV0        bool          // modules are read as Rego version 0, except those that import rego.v1
	EvalTimeout   time.Duration // hard: see Eval; default 25 ms
	Workers       int           // evaluations at once; default 4 × GOMAXPROCS; more wait until the deadline, then ErrOverloaded
	Routes        []string      // further decisions, as Path is one: see Policy.Route
	OwnCaches     bool          // compiled patterns are not kept with those of the whole process, where one policy can push out another's
}

const (
	evalTimeoutDefault   = 25 * time.Millisecond
	workersPerCPUDefault = 4
)

// Compile parses, checks against the capability allow-list, compiles and prepares. The error is a *CompileError, except
// when ctx ends first: OPA's compiler cannot be interrupted, and takes minutes for some sources of 100 KB, so it is left
// behind to finish alone. Rego is read as version 1 unless Config says otherwise. OPA's "strict" lint is not applied: policies written for
// opa-envoy-plugin must load as they are.
func Compile(ctx context.Context, sources []Source, cfg Config) (*Policy, error) {
	type outcome struct {
		policy *Policy
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		p, err := compile(ctx, sources, cfg, profileFor(cfg))
		done <- outcome{p, err}
	}()
	select {
	case o := <-done:
		return o.policy, o.err
	case <-ctx.Done():
		return nil, ctx.Err() // a policy that comes later has started nothing, and is collected
	}
}

func compile(ctx context.Context, sources []Source, cfg Config, prof profile) (p *Policy, err error) {
	defer func() { // a policy that makes OPA panic must not stop the process that was asked to load it
		if r := recover(); r != nil {
			p, err = nil, newCompileError(Problem{Message: "the Rego compiler panicked: " + oneLine(fmt.Sprint(r))})
		}
	}()
	if problems := checkSources(sources); len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	caps := prof.capabilities()
	modules, problems := parseModules(sources, caps, cfg.regoVersion(), prof.extra)
	data, dataProblems := loadData(sources)
	if problems = append(problems, dataProblems...); len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	store := inmem.NewFromASTObject(data) // reads return AST values: no conversion per evaluation
	compiler, problems := compileModules(ctx, modules, caps, cfg.regoVersion(), store)
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	c := &compiled{cfg.withDefaults(), compiler, store, prof, newSizes(data), revision(sources)}
	if problems := c.guard(); len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	p, err = c.decide(ctx, cfg.Path)
	for i := 0; err == nil && i < len(cfg.Routes); i++ {
		err = c.route(ctx, p, cfg.Routes[i])
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (c Config) withDefaults() Config {
	if c.EvalTimeout <= 0 {
		c.EvalTimeout = evalTimeoutDefault
	}
	if c.Workers <= 0 {
		c.Workers = workersPerCPUDefault * runtime.GOMAXPROCS(0)
	}
	return c
}

// decisionRef turns "a/b/c" into data.a.b.c.
func decisionRef(path string) (ast.Ref, error) {
	ref := ast.Ref{ast.DefaultRootDocument}
	for _, name := range strings.Split(path, "/") {
		if name == "" {
			return nil, fmt.Errorf("decision path %q: want names separated by single slashes, as in agentidp/authz/allow", path)
		}
		ref = append(ref, ast.StringTerm(name))
	}
	return ref, nil
}

func (c Config) regoVersion() ast.RegoVersion {
	if c.RegoV0 {
		return ast.RegoV0
	}
	return ast.RegoV1
}

func parseModules(sources []Source, caps *ast.Capabilities, version ast.RegoVersion, extra []function) (map[string]*ast.Module, []Problem) {
	modules := map[string]*ast.Module{}
	var problems []Problem
	for _, s := range sources {
		if !isModule(s.Name) {
			continue
		}
		module, err := ast.ParseModuleWithOpts(s.Name, string(s.Data), ast.ParserOptions{
			RegoVersion: version, Capabilities: caps, ProcessAnnotation: true,
		})
		switch {
		case err != nil:
			problems = append(problems, problemsOf(s.Name, err)...)
		case module == nil:
			problems = append(problems, Problem{File: s.Name, Message: "empty module"})
		default:
			rewriteCalls(module, extra)
			modules[s.Name] = module
		}
	}
	return modules, problems
}

func compileModules(ctx context.Context, modules map[string]*ast.Module, caps *ast.Capabilities, version ast.RegoVersion, store storage.Store) (*ast.Compiler, []Problem) {
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, []Problem{{Message: oneLine(err.Error())}}
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().
		WithCapabilities(caps).
		WithDefaultRegoVersion(version).
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)) // a rule and a data file at one path
	compiler.Compile(modules)
	if compiler.Failed() {
		return nil, problemsOf("", compiler.Errors)
	}
	return compiler, nil
}

// checkDecision refuses a path that could never give a decision, and says what there is instead. At run time such a
// policy would only ever be undefined: every request would fail, with nothing to tell why.
func checkDecision(compiler *ast.Compiler, path string, decision ast.Ref) (Problem, bool) {
	rules := compiler.GetRulesForVirtualDocument(decision)
	if len(rules) == 0 { // rules such as decision.allowed := … below the path make one document, too
		for _, rule := range compiler.GetRulesWithPrefix(decision) {
			if pkg := rule.Module.Package.Path; len(decision) > len(pkg) && decision.HasPrefix(pkg) {
				rules = append(rules, rule) // else the path names a package, or a part of its name
			}
		}
	}
	if len(rules) == 0 {
		return Problem{Message: fmt.Sprintf("no rule at decision path %q; packages found: %s", path, packages(compiler))}, false
	}
	for _, rule := range rules {
		if len(rule.Head.Args) > 0 {
			return Problem{
				File: rule.Location.File, Line: rule.Location.Row,
				Message: fmt.Sprintf("decision path %q is a function, not a rule", path),
			}, false
		}
	}
	return Problem{}, true
}

func packages(compiler *ast.Compiler) string {
	var names []string
	for _, m := range compiler.Modules {
		names = append(names, strings.ReplaceAll(strings.TrimPrefix(m.Package.Path.String(), "data."), ".", "/"))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ", ")
}

func prepare(ctx context.Context, compiler *ast.Compiler, store storage.Store, decision ast.Ref, prof profile) (rego.PreparedEvalQuery, error) {
	options := []func(*rego.Rego){
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(decision)))),
		rego.Compiler(compiler),
		rego.Store(store),
		rego.SetRegoVersion(ast.RegoV1),
	}
	for _, f := range prof.extra {
		options = append(options, f.option())
	}
	return rego.New(options...).PrepareForEval(ctx)
}

// problemsOf takes OPA's errors apart. OPA repeats its error code in front of each message; operators never need it.
func problemsOf(file string, err error) []Problem {
	var list ast.Errors
	if one := (*ast.Error)(nil); errors.As(err, &one) {
		list = ast.Errors{one}
	} else if !errors.As(err, &list) {
		return []Problem{{File: file, Message: oneLine(err.Error())}}
	}
	problems := make([]Problem, 0, len(list))
	for _, e := range list {
		p := Problem{File: file, Message: oneLine(e.Message)}
		if e.Location != nil {
			p.Line = e.Location.Row
			if e.Location.File != "" {
				p.File = e.Location.File
			}
		}
		problems = append(problems, p)
	}
	return problems
}
