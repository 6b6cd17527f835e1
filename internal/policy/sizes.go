package policy

import (
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"
)

const (
	// sizeMax is how large a value that a policy makes may be, written out: one for each value in it, and for each 16 bytes of
	// text. What stands twice in a value counts twice: [x, x] takes no memory for the second x, but whoever compares or prints it
	// pays for both, and thirty lines that double a value make one of a billion.
	sizeMax = 64 << 10

	textPerValue = 16 // bytes of text that count as one value

	// sizeKnownMin is how large a part of the data is remembered with its size, so that nobody counts it again.
	sizeKnownMin = 256
)

// errTooLarge is the reason of a policy that makes a value beyond sizeMax.
var errTooLarge = errors.New("a value is too large: more than 65,536 values or 1 MiB of text, written out, beside the policy's data")

// sizes knows how large values are.
type sizes struct {
	known map[ast.Value]int // parts of the data
	limit int
}

// newSizes lets values be larger by twice the data: a policy may pass on what its operator gave it.
func newSizes(data ast.Value) *sizes {
	s := &sizes{known: map[ast.Value]int{}}
	s.limit = sizeMax + 2*s.learn(data)
	return s
}

// learn returns the size of a part of the data.
func (s *sizes) learn(v ast.Value) int {
	n := own(v)
	if !composite(v) {
		return n
	}
	children(v, func(child ast.Value) bool {
		n += s.learn(child)
		return true
	})
	if n >= sizeKnownMin {
		s.known[v] = n
	}
	return n
}

// fit reports whether all of the terms together are within the limit. It looks at no more than that.
func (s *sizes) fit(terms ...*ast.Term) bool { return s.size(terms...) <= s.limit }

// size is that of all of the terms together, or something beyond the limit.
func (s *sizes) size(terms ...*ast.Term) int {
	left := s.limit
	for _, t := range terms {
		if left = s.left(left, t.Value); left < 0 {
			break
		}
	}
	return s.limit - left
}

// left is what is left of a limit after v; negative when v is beyond it.
func (s *sizes) left(left int, v ast.Value) int {
	if !composite(v) {
		return left - own(v)
	}
	if n, ok := s.known[v]; ok {
		return left - n
	}
	left -= own(v)
	children(v, func(child ast.Value) bool {
		if left >= 0 {
			left = s.left(left, child)
		}
		return left >= 0
	})
	return left
}

func own(v ast.Value) int {
	switch v := v.(type) {
	case ast.String:
		return 1 + len(v)/textPerValue
	case ast.Number:
		return 1 + len(v)/textPerValue
	default:
		return 1
	}
}

func composite(v ast.Value) bool {
	switch v.(type) {
	case *ast.Array, ast.Object, ast.Set:
		return true
	}
	return false
}

// children calls f with everything directly in v, keys included, until it returns false.
func children(v ast.Value, f func(ast.Value) bool) {
	switch v := v.(type) {
	case *ast.Array:
		for i := range v.Len() {
			if !f(v.Elem(i).Value) {
				return
			}
		}
	case ast.Object:
		v.Until(func(key, value *ast.Term) bool { return !f(key.Value) || !f(value.Value) })
	case ast.Set:
		v.Until(func(element *ast.Term) bool { return !f(element.Value) })
	}
}

// bounded holds the results of rules of one evaluation to the limit. It is OPA's cache of them, since each one is put there, and its
// cancellation, since that ends an evaluation.
type bounded struct {
	topdown.VirtualCache
	cancel   topdown.Cancel
	sizes    *sizes
	tooLarge error // why the evaluation is over
}

func (s *sizes) bound(cancel topdown.Cancel) *bounded {
	return &bounded{VirtualCache: topdown.NewVirtualCache(), cancel: cancel, sizes: s}
}

// Put implements topdown.VirtualCache.
func (b *bounded) Put(ref ast.Ref, value *ast.Term) {
	if value != nil && composite(value.Value) && !b.sizes.fit(value) {
		b.tooLarge = errTooLarge
	}
	b.VirtualCache.Put(ref, value)
}

// endTooLarge ends the evaluation that a function is called in.
func endTooLarge(bctx rego.BuiltinContext, err error) error {
	if b, ok := bctx.Cancel.(*bounded); ok {
		b.tooLarge = err
	}
	return rego.NewHaltError(err)
}

// Cancel implements topdown.Cancel.
func (b *bounded) Cancel() { b.cancel.Cancel() }

// Cancelled implements topdown.Cancel.
func (b *bounded) Cancelled() bool { return b.tooLarge != nil || b.cancel.Cancelled() }
