package policy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Bounds of an explanation.
const (
	explainTimeout   = 500 * time.Millisecond // hard, as EvalTimeout is: a traced evaluation takes a few times as long
	explainRulesMax  = 256
	explainDataMax   = 256
	explainLabelsMax = 64
	explainTextMax   = 512 // bytes of one rule name or data path
)

// Explanation says how a decision comes about: what a policy says of an input, which rules were tried for it, and which data
// were read.
type Explanation struct {
	Decision  any              // nil when the decision is undefined
	Rules     []ExplainedRule  // those entered, by file and line; rules an index excludes were not
	Data      []ExplainedData  // documents beside the input that were looked up, sorted
	Labels    []map[string]any // of the rules that held, from "labels" in their annotations
	Truncated bool             // there was more than the bounds allow
}

// ExplainedRule is one rule that was tried. Of a function called several times, Held says whether any call gave a result.
type ExplainedRule struct {
	Name string `json:"rule"` // data.agentidp.authz.allow
	File string `json:"file"`
	Line int    `json:"line"`
	Held bool   `json:"held"`
}

// String names the rule as operators look for it.
func (r ExplainedRule) String() string { return fmt.Sprintf("%s@%s:%d", r.Name, r.File, r.Line) }

// ExplainedData is one look-up in the policy's data.
type ExplainedData struct {
	Path  string `json:"path"` // data.routes.payments
	Found bool   `json:"found"`
}

// recipe is what an explanation evaluates again.
type recipe struct {
	compiler *ast.Compiler
	store    storage.Store
	decision ast.Ref
	profile  profile
	sizes    *sizes
}

// Explain evaluates input again, watched. It is for operators: it costs milliseconds, answers within half a second whatever
// the policy does, and runs apart from the workers of Eval, one explanation at a time for each policy (ErrOverloaded is the
// answer to a second). It neither is held up by a quarantine nor counts towards one.
func (p *Policy) Explain(ctx context.Context, input Value) (*Explanation, error) {
	busy := p.engine.explaining
	select {
	case busy <- struct{}{}:
	default:
		return nil, ErrOverloaded
	}
	ctx, end := context.WithTimeout(ctx, explainTimeout)
	defer end()
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	type outcome struct {
		explanation *Explanation
		err         error
	}
	done := make(chan outcome, 1)
	go func() {
		e, err := p.recipe.explain(ctx, cancel, input)
		<-busy // only now, so that an evaluation that cannot be stopped keeps its place; and before its caller, who may ask again at once, hears of it
		done <- outcome{e, err}
	}()
	select {
	case o := <-done:
		return o.explanation, o.err
	case <-ctx.Done():
		return nil, contextError(ctx.Err())
	}
}

func (r *recipe) explain(ctx context.Context, cancel topdown.Cancel, input Value) (e *Explanation, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, fmt.Errorf("%w: %.*s", ErrPanicked, panicBytesMax, oneLine(fmt.Sprint(p)))
		}
	}()
	watched := &watchedStore{Store: r.store, reads: map[string]bool{}}
	prepared, err := prepare(ctx, r.compiler, watched, r.decision, r.profile)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrEvaluation, oneLine(err.Error()))
	}
	watched.watching = true // what preparing reads is OPA's own
	rules := &ruleTracer{held: map[*ast.Rule]bool{}}
	labels := (&topdown.EvaluatedRuleTracker{}).WithAnnotationSet(r.compiler.GetAnnotationSet())
	within := r.sizes.bound(cancel)
	results, err := prepared.Eval(ctx, within.options([]rego.EvalOption{
		rego.EvalParsedInput(input), rego.EvalMetrics(metrics.NoOp()), rego.EvalSortSets(true),
		rego.EvalQueryTracer(rules), rego.EvalEvaluatedRuleTracker(labels),
	})...)
	decision, err := within.outcome(results, err)
	if err != nil && !errors.Is(err, ErrUndefined) {
		return nil, err
	}
	e = &Explanation{Decision: decision, Rules: rules.list(), Data: watched.list(), Labels: labels.Labels, Truncated: rules.truncated || watched.truncated}
	if len(e.Labels) > explainLabelsMax {
		e.Labels, e.Truncated = e.Labels[:explainLabelsMax], true
	}
	return e, nil
}

// ruleTracer notes which rules are entered and left with a result.
type ruleTracer struct {
	held      map[*ast.Rule]bool
	truncated bool
}

// Enabled implements topdown.QueryTracer.
func (t *ruleTracer) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (t *ruleTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent implements topdown.QueryTracer.
func (t *ruleTracer) TraceEvent(e topdown.Event) {
	rule, ok := e.Node.(*ast.Rule)
	if !ok || rule.Location == nil || e.Op != topdown.EnterOp && e.Op != topdown.ExitOp {
		return
	}
	if _, known := t.held[rule]; !known && len(t.held) == explainRulesMax {
		t.truncated = true
		return
	}
	t.held[rule] = t.held[rule] || e.Op == topdown.ExitOp
}

func (t *ruleTracer) list() []ExplainedRule {
	list := make([]ExplainedRule, 0, len(t.held))
	for rule, held := range t.held {
		list = append(list, ExplainedRule{
			Name: shortened(rule.Ref().String()), File: rule.Location.File, Line: rule.Location.Row, Held: held,
		})
	}
	slices.SortFunc(list, func(a, b ExplainedRule) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// watchedStore notes what is read.
type watchedStore struct {
	storage.Store
	watching  bool
	reads     map[string]bool
	truncated bool
}

// Read implements storage.Store.
func (s *watchedStore) Read(ctx context.Context, txn storage.Transaction, path storage.Path) (any, error) {
	document, err := s.Store.Read(ctx, txn, path)
	if !s.watching {
		return document, err
	}
	name := shortened(path.Ref(ast.DefaultRootDocument).String())
	if _, known := s.reads[name]; !known && len(s.reads) == explainDataMax {
		s.truncated = true
	} else {
		s.reads[name] = err == nil
	}
	return document, err
}

func (s *watchedStore) list() []ExplainedData {
	list := make([]ExplainedData, 0, len(s.reads))
	for path, found := range s.reads {
		list = append(list, ExplainedData{path, found})
	}
	slices.SortFunc(list, func(a, b ExplainedData) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

func shortened(s string) string {
	if len(s) > explainTextMax {
		return s[:explainTextMax] + "…"
	}
	return s
}

// FromJSON builds a value from a document that ToAny and encoding/json made.
func FromJSON(document []byte) (Value, error) {
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	return FromAny(tree)
}
