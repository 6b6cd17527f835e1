package policy

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Packed is a JSON value as one text without a pointer in it: what is remembered in great numbers takes a tenth of the
// memory of a Value, and costs the garbage collector nothing to look at. The zero Packed is no value.
//
// The text is each value's kind, its length where it has one, and its contents, members in the order of their names. So no
// value's text is the beginning of another's, and equal values have equal texts: pieces of it are keys of caches.
type Packed struct{ text string }

// Kinds of values in a Packed and in keys.
const (
	keyAbsent    = 'a' // only in keys, followed by the depth at which the path ended
	keyNotObject = 'x' // as keyAbsent: something is there, and it has no members
	keyNull      = 'n'
	keyFalse     = 'f'
	keyTrue      = 't'
	keyNumber    = 'd' // 1 and 1.0 are equal, and two keys: that costs a miss
	keyString    = 's'
	keyArray     = 'l'
	keyObject    = 'o'
)

// Text is all of it: strings in the value are parts of it as they are.
func (p Packed) Text() string { return p.text }

// Packer builds a Packed from the outside in: an object or list says how many there are, and then come the members (name
// and value) or elements. Names must be distinct, and in order where the text is to be compared.
type Packer struct {
	text []byte
	err  error
}

// Object begins an object.
func (p *Packer) Object(members int) { p.count(keyObject, members) }

// Name is what each member begins with.
func (p *Packer) Name(name string) { p.String(name) }

// String adds a string.
func (p *Packer) String(s string) { p.text = appendText(append(p.text, keyString), s) }

// Int adds an integer.
func (p *Packer) Int(i int64) {
	var room [20]byte
	digits := strconv.AppendInt(room[:0], i, 10)
	p.text = append(binary.AppendUvarint(append(p.text, keyNumber), uint64(len(digits))), digits...)
}

// Strings adds a list of strings.
func (p *Packer) Strings(list []string) {
	p.count(keyArray, len(list))
	for _, s := range list {
		p.String(s)
	}
}

// Any adds a decoded JSON tree, under the same rules as FromAny.
func (p *Packer) Any(tree any) { p.any(tree, anyDepthMax) }

// Packed is what was built, or why it is not JSON that a policy can be shown.
func (p *Packer) Packed() (Packed, error) {
	if p.err != nil {
		return Packed{}, p.err
	}
	return Packed{string(p.text)}, nil
}

func (p *Packer) count(kind byte, n int) {
	p.text = binary.AppendUvarint(append(p.text, kind), uint64(n))
}

func (p *Packer) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *Packer) any(tree any, depth int) {
	if depth == 0 {
		p.fail(fmt.Errorf("nested deeper than %d", anyDepthMax))
		return
	}
	switch v := tree.(type) {
	case nil:
		p.text = append(p.text, keyNull)
	case bool:
		kind := byte(keyFalse)
		if v {
			kind = keyTrue
		}
		p.text = append(p.text, kind)
	case string:
		p.String(v)
	case json.Number:
		if err := checkNumber(v); err != nil {
			p.fail(err)
		}
		p.text = appendText(append(p.text, keyNumber), string(v))
	case []any:
		p.count(keyArray, len(v))
		for _, element := range v {
			p.any(element, depth-1)
		}
	case map[string]any:
		p.Object(len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			p.Name(name)
			p.any(v[name], depth-1)
		}
	default:
		p.fail(fmt.Errorf("a %T is not JSON", v))
	}
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// Value is the value itself, built anew; nil for no value. It shares the text's memory.
func (p Packed) Value() Value {
	if p.text == "" {
		return nil
	}
	u := unpacker{text: p.text}
	return u.value()
}

// unpacker reads what a Packer wrote.
type unpacker struct {
	text string
	at   int
}

func (u *unpacker) kind() byte {
	u.at++
	return u.text[u.at-1]
}

func (u *unpacker) length() int {
	n, shift := 0, 0
	for {
		b := u.text[u.at]
		u.at++
		if b < 0x80 {
			return n | int(b)<<shift
		}
		n |= int(b&0x7f) << shift
		shift += 7
	}
}

func (u *unpacker) piece() string {
	n := u.length()
	u.at += n
	return u.text[u.at-n : u.at]
}

func (u *unpacker) value() Value {
	switch u.kind() {
	case keyFalse:
		return Bool(false)
	case keyTrue:
		return Bool(true)
	case keyNumber:
		return ast.Number(u.piece())
	case keyString:
		return String(u.piece())
	case keyArray:
		values := make([]Value, u.length())
		for i := range values {
			values[i] = u.value()
		}
		return Array(values...)
	case keyObject:
		members := make([]Member, u.length())
		for i := range members {
			u.kind()
			members[i].Name = u.piece()
			members[i].Value = u.value()
		}
		return Object(members...)
	default:
		return Null()
	}
}

// skip passes one value.
func (u *unpacker) skip() {
	switch u.kind() {
	case keyNumber, keyString:
		u.piece()
	case keyArray:
		for range u.length() {
			u.skip()
		}
	case keyObject:
		for range 2 * u.length() {
			u.skip()
		}
	}
}

// Selector picks what is at one path of a value, for keys of caches.
type Selector struct{ names []string }

// NewSelector makes a Selector of member names; none is the value itself.
func NewSelector(path ...string) Selector {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = strings.Clone(name)
	}
	return Selector{names}
}

// AppendKey appends what is at the path: the text of the value, or how deep the path exists and why it ends there. Two
// values with one key cannot be told apart by a policy that reads nothing but this path.
func (s Selector) AppendKey(key []byte, p Packed) []byte {
	if p.text == "" {
		return append(key, keyAbsent, 0)
	}
	u := unpacker{text: p.text}
	for depth, name := range s.names {
		if u.kind() != keyObject {
			return binary.AppendUvarint(append(key, keyNotObject), uint64(depth))
		}
		if !u.member(name) {
			return binary.AppendUvarint(append(key, keyAbsent), uint64(depth)+1) // 0 is: no value at all
		}
	}
	from := u.at
	u.skip()
	return append(key, p.text[from:u.at]...)
}

// member goes to the value of a member of the object whose kind was just read.
func (u *unpacker) member(name string) bool {
	for range u.length() {
		u.kind()
		if u.piece() == name {
			return true
		}
		u.skip()
	}
	return false
}
