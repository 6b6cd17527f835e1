package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown/cache"
)

// Policy is one compiled and prepared policy, immutable and safe for concurrent use.
type Policy struct {
	policyFacts
	engine *engine
	routes map[string]*Policy // by path; set before anybody else has the policy
}

// policyFacts is what is known about a policy once it is compiled.
type policyFacts struct {
	revision         string
	reads            ReadSet
	nondeterministic []Location
	recipe           recipe
}

// engine evaluates. Workers hold it and not the Policy, so that a Policy nobody holds any more can be collected.
type engine struct {
	prepared   rego.PreparedEvalQuery
	timeout    time.Duration
	workers    *workers
	quarantine quarantine
	explaining chan struct{}              // holds one while an explanation is under way
	patterns   cache.InterQueryValueCache // nil: those of the process are used
	sizes      *sizes
	options    []rego.EvalOption
}

func newPolicy(prepared rego.PreparedEvalQuery, cfg Config, facts policyFacts) *Policy {
	e := &engine{
		prepared: prepared, timeout: cfg.EvalTimeout, quarantine: quarantine{now: time.Now}, explaining: make(chan struct{}, 1),
		sizes:   facts.recipe.sizes,
		options: []rego.EvalOption{rego.EvalMetrics(metrics.NoOp()), rego.EvalSortSets(true)},
	}
	if cfg.OwnCaches {
		e.patterns = ownCache()
		e.options = append(e.options, rego.EvalInterQueryBuiltinValueCache(e.patterns))
	}
	e.workers = newWorkers(cfg.Workers, e.evaluate, e.quarantine.overrun)
	p := &Policy{policyFacts: facts, engine: e}
	// A snapshot that is replaced is dropped, not closed, by whoever read it last.
	runtime.AddCleanup(p, func(w *workers) { w.close() }, e.workers)
	return p
}

// Revision is the SHA-256 over names and contents, hex.
func (p *Policy) Revision() string { return p.revision }

// Place is where a rule begins.
type Place struct {
	File string
	Line int
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// DecidedIn is where the rules of the decision at a path begin, in order; none when there are no rules.
func (p *Policy) DecidedIn(path string) []Place {
	decision, err := decisionRef(path)
	if err != nil {
		return nil
	}
	var places []Place
	for _, rule := range append(p.recipe.compiler.GetRulesForVirtualDocument(decision), p.recipe.compiler.GetRulesWithPrefix(decision)...) {
		if at := rule.Location; at != nil {
			places = append(places, Place{at.File, at.Row})
		}
	}
	slices.SortFunc(places, func(a, b Place) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return slices.Compact(places)
}

// ReadSet says which parts of the input the decision depends on.
func (p *Policy) ReadSet() ReadSet { return p.reads }

// Nondeterministic lists the calls, reachable from the decision, whose result is not a function of their arguments. A
// policy with any gives decisions that must not be cached.
func (p *Policy) Nondeterministic() []Location { return slices.Clone(p.nondeterministic) }

// Close lets the policy's idle goroutines go. It never disturbs a caller: evaluations under way end as they would have,
// and a request that still holds the policy may call Eval as before, for the price of a goroutine. A policy that becomes
// garbage is closed by the runtime.
func (p *Policy) Close() {
	p.engine.workers.close()
	for _, r := range p.routes {
		r.Close()
	}
}

// Stats returns the counters of this policy so far.
func (p *Policy) Stats() Stats {
	s := p.engine.workers.stats()
	s.QuarantinedUntil = p.engine.quarantine.end()
	return s
}

// Eval returns the decision document at Config.Path as Go values (bool, string, json.Number, []any, map[string]any, nil).
//
// It answers within Config.EvalTimeout once it has its worker, or when ctx ends if that is sooner, whatever the policy does; while
// the machine gives the process no processor, within the greater of EvalTimeout and 150 ms in all. The error is one of this package's, or the context's when its caller gave up; none of them is an answer.
func (p *Policy) Eval(ctx context.Context, input Value) (any, error) {
	if err := p.engine.quarantine.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, contextError(err)
	}
	decision, err := p.engine.workers.do(ctx, input, p.engine.timeout)
	runtime.KeepAlive(p) // or the cleanup could close the workers under a caller that holds the only reference
	return decision, err
}

// contextError maps a deadline that came with the context to the error our own deadline has.
func contextError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrTimeout
	}
	return fmt.Errorf("policy evaluation: %w", err)
}

// panicBytesMax bounds what of a panic is repeated in an error.
const panicBytesMax = 200

const (
	evalOptionsMax = 7  // of one evaluation
	ownCacheMax    = 64 // compiled patterns of a policy with caches of its own
)

// ownCache keeps compiled patterns of one policy. OPA's own keeps a hundred for the whole process.
func ownCache() cache.InterQueryValueCache {
	most := ownCacheMax
	return cache.NewInterQueryValueCache(context.Background(), &cache.Config{InterQueryBuiltinValueCache: cache.InterQueryBuiltinValueCacheConfig{MaxNumEntries: &most}})
}

// evaluate runs one evaluation on a worker. Whatever goes wrong in it ends here.
func (e *engine) evaluate(j *job) (decision any, err error) {
	defer func() {
		if r := recover(); r != nil {
			text := oneLine(fmt.Sprint(r))
			decision, err = nil, fmt.Errorf("%w: %s", ErrPanicked, text[:min(len(text), panicBytesMax)])
		}
	}()
	within := e.sizes.bound(j)
	options := append(make([]rego.EvalOption, 0, evalOptionsMax), rego.EvalParsedInput(j.input))
	results, err := e.prepared.Eval(j.ctx, append(within.options(options), e.options...)...)
	return within.outcome(results, err)
}
