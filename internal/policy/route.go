package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// Route returns the policy that decides at another path of the same modules and data, one of Config.Routes. It is a policy of its own: it
// waits for nobody else's evaluations, and its overruns put nobody else into quarantine. It ends with p.
func (p *Policy) Route(path string) (*Policy, bool) {
	r, ok := p.routes[path]
	return r, ok
}

// compiled is what all decisions of one directory have in common.
type compiled struct {
	cfg      Config
	compiler *ast.Compiler
	store    storage.Store
	profile  profile
	sizes    *sizes
	revision string
}

// decide prepares the decision at a path.
func (c *compiled) decide(ctx context.Context, path string) (*Policy, error) {
	decision, err := decisionRef(path)
	if err != nil {
		return nil, newCompileError(Problem{Message: err.Error()})
	}
	if p, ok := checkDecision(c.compiler, path, decision); !ok {
		return nil, newCompileError(p)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	prepared, err := prepare(ctx, c.compiler, c.store, decision, c.profile)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, newCompileError(Problem{Message: oneLine(err.Error())})
	}
	reads, nondeterministic := analyse(c.compiler, decision)
	return newPolicy(prepared, c.cfg, policyFacts{
		revision: c.revision, reads: reads, nondeterministic: nondeterministic, recipe: recipe{c.compiler, c.store, decision, c.profile, c.sizes},
	}), nil
}

func (c *compiled) route(ctx context.Context, p *Policy, path string) error {
	r, err := c.decide(ctx, path)
	if err != nil {
		return err
	}
	if p.routes == nil {
		p.routes = make(map[string]*Policy)
	}
	p.routes[path] = r
	return nil
}
