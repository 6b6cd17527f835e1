package policy

import (
	"encoding/binary"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Kinds of values in a key. Each value is its kind, its length where it has one, and its contents, so that no encoding is
// the beginning of another: what follows in a key cannot be taken for a part of it.
const (
	keyAbsent    = 'a' // followed by the depth at which the path ended
	keyNotObject = 'x' // as keyAbsent: something is there, and it has no members
	keyNull      = 'n'
	keyFalse     = 'f'
	keyTrue      = 't'
	keyNumber    = 'd'
	keyString    = 's'
	keyArray     = 'l'
	keyObject    = 'o'
	keyOther     = 'z' // what JSON does not have; compared as it is printed
)

// Selector picks what is at one path of a value, for keys of caches.
type Selector struct{ names []*ast.Term }

// NewSelector makes a Selector of member names; none is the value itself.
func NewSelector(path ...string) Selector {
	names := make([]*ast.Term, len(path))
	for i, name := range path {
		names[i] = nameTerm(name)
	}
	return Selector{names}
}

// AppendKey appends an encoding of what is at the path: the value, or how deep the path exists and why it ends there. Two
// values with one encoding cannot be told apart by a policy that reads nothing but this path. v may be nil: absent.
func (s Selector) AppendKey(key []byte, v Value) []byte {
	if v == nil {
		return append(key, keyAbsent, 0)
	}
	for depth, name := range s.names {
		object, ok := v.(ast.Object)
		if !ok {
			return binary.AppendUvarint(append(key, keyNotObject), uint64(depth))
		}
		member := object.Get(name)
		if member == nil {
			return binary.AppendUvarint(append(key, keyAbsent), uint64(depth)+1) // 0 is: no value at all
		}
		v = member.Value
	}
	return appendKey(key, v)
}

func appendKey(key []byte, v Value) []byte {
	switch v := v.(type) {
	case ast.Null:
		return append(key, keyNull)
	case ast.Boolean:
		if v {
			return append(key, keyTrue)
		}
		return append(key, keyFalse)
	case ast.Number: // 1 and 1.0 are equal, and two keys: that costs a miss
		return appendText(append(key, keyNumber), string(v))
	case ast.String:
		return appendText(append(key, keyString), string(v))
	case *ast.Array:
		key = binary.AppendUvarint(append(key, keyArray), uint64(v.Len()))
		for i := range v.Len() {
			key = appendKey(key, v.Elem(i).Value)
		}
		return key
	case ast.Object:
		key = binary.AppendUvarint(append(key, keyObject), uint64(v.Len()))
		return appendMembers(key, v)
	default:
		return appendText(append(key, keyOther), v.String())
	}
}

// appendMembers is apart so that only objects pay for the closure.
func appendMembers(key []byte, o ast.Object) []byte {
	o.Foreach(func(name, value *ast.Term) { // in the order of the names
		key = appendKey(key, name.Value)
		key = appendKey(key, value.Value)
	})
	return key
}

func appendText(key []byte, text string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(text))), text...)
}
