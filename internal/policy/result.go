package policy

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Bounds of a decision, and of an input that is shown, as a tree of Go values: what stands twice in a value is there twice.
const (
	decisionValuesMax = 16 << 10
	decisionTextMax   = 256 << 10
	treeValuesMax     = 64 << 10
	treeTextMax       = 4 << 20

	valuesPerLook = 256 // converted between two looks at whether somebody still waits
)

var (
	errDecisionTooLarge = errors.New("the decision is larger than 16,384 values or 256 KiB of text")
	errTreeTooLarge     = errors.New("the value is larger than 65,536 values or 4 MiB of text")
	errCancelled        = errors.New("cancelled")
	errNoJSON           = errors.New("the value has no JSON form")
)

// treeMaker turns a value into a tree of map[string]any, []any, string, json.Number, bool and nil.
type treeMaker struct {
	cancel   topdown.Cancel // nil: nobody cancels
	values   int            // left
	text     int            // left, bytes
	tooLarge error
}

// decision is how OPA hands out the result of an evaluation.
func (b *bounded) decision(t *ast.Term, _ *rego.EvalContext) (any, error) {
	m := treeMaker{b, decisionValuesMax, decisionTextMax, errDecisionTooLarge}
	tree, err := m.tree(t.Value)
	if errors.Is(err, errDecisionTooLarge) {
		b.tooLarge = err
	}
	return tree, err
}

// options appends those of OPA that hold an evaluation to its bounds.
func (b *bounded) options(list []rego.EvalOption) []rego.EvalOption {
	return append(list, rego.EvalExternalCancel(b), rego.EvalVirtualCache(b), rego.EvalGenerateJSON(b.decision))
}

// take counts one value with so much text.
func (m *treeMaker) take(text int) error {
	m.values--
	m.text -= text
	if m.values < 0 || m.text < 0 {
		return m.tooLarge
	}
	if m.cancel != nil && m.values%valuesPerLook == 0 && m.cancel.Cancelled() {
		return errCancelled
	}
	return nil
}

func (m *treeMaker) tree(v ast.Value) (any, error) {
	switch v := v.(type) {
	case ast.Null:
		return nil, m.take(0)
	case ast.Boolean:
		return bool(v), m.take(0)
	case ast.Number:
		return json.Number(v), m.take(len(v))
	case ast.String:
		return string(v), m.take(len(v))
	case *ast.Array:
		return m.list(v.Len(), v.Until)
	case ast.Set:
		return m.list(v.Len(), v.Sorted().Until)
	case ast.Object:
		return m.object(v)
	default:
		return nil, errNoJSON
	}
}

func (m *treeMaker) list(length int, until func(func(*ast.Term) bool) bool) (any, error) {
	err := m.take(0)
	if err != nil || length > m.values {
		return nil, orTooLarge(err, m)
	}
	list := make([]any, 0, length)
	until(func(t *ast.Term) bool {
		var element any
		element, err = m.tree(t.Value)
		list = append(list, element)
		return err != nil
	})
	return list, err
}

func (m *treeMaker) object(o ast.Object) (any, error) {
	err := m.take(0)
	if err != nil || o.Len() > m.values {
		return nil, orTooLarge(err, m)
	}
	members := make(map[string]any, o.Len())
	o.Until(func(key, value *ast.Term) bool {
		var name string
		if name, err = m.name(key.Value); err == nil {
			members[name], err = m.tree(value.Value)
		}
		return err != nil
	})
	return members, err
}

// name of a member: a text, or the JSON of another key.
func (m *treeMaker) name(key ast.Value) (string, error) {
	tree, err := m.tree(key)
	if err != nil {
		return "", err
	}
	if name, ok := tree.(string); ok {
		return name, nil
	}
	text, err := json.Marshal(tree)
	return string(text), err
}

func orTooLarge(err error, m *treeMaker) error {
	if err != nil {
		return err
	}
	return m.tooLarge
}

// ToAny is the inverse of FromAny: a tree of map[string]any, []any, string, json.Number, bool and nil. It refuses what would be
// larger than 65,536 values or 4 MiB of text.
func ToAny(v Value) (any, error) {
	m := treeMaker{nil, treeValuesMax, treeTextMax, errTreeTooLarge}
	return m.tree(v)
}

// outcome is what an evaluation comes to.
func (b *bounded) outcome(results rego.ResultSet, err error) (any, error) {
	switch {
	case b.tooLarge != nil:
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, b.tooLarge)
	case topdown.IsCancel(err) || errors.Is(err, errCancelled) || err == nil && b.Cancelled():
		return nil, ErrTimeout
	case err != nil:
		return nil, fmt.Errorf("%w: %s", ErrEvaluation, oneLine(err.Error()))
	case len(results) == 0:
		return nil, ErrUndefined
	}
	return results[0].Expressions[0].Value, nil
}
