// Package strictjson reads JSON that somebody else wrote and refuses everything two parsers could read differently:
// duplicate member names at any depth (also when one of them is written with escapes), invalid UTF-8, lone surrogates,
// bytes after the value, a byte order mark, numbers no float64 can hold, and anything beyond the stated limits.
//
// It is a hand-written scanner: no reflection, and nothing of encoding/json but the type Number. What it accepts,
// encoding/json accepts with the same values; a fuzz target holds it to that.
package strictjson

import (
	"fmt"
	"unicode/utf8"
)

// Limits bound one document. Every field must be positive; there is no "unlimited".
type Limits struct {
	Bytes   int // length of the document
	Depth   int // nesting of objects and arrays; 1 allows one flat object
	Values  int // all values: each scalar, array and object counts one, member names do not
	Members int // members of any one object
}

// Error says what is wrong and at which byte. It never repeats bytes of the document, so it is safe to log.
type Error struct {
	Offset int // first byte that cannot be accepted
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("strict JSON: %s at byte %d", e.Reason, e.Offset)
}

// Parse returns the document as map[string]any, []any, string, json.Number, bool or nil.
// Numbers keep their text. Strings share one copy of the document, so a caller that keeps one small string of a large
// document for long should clone it. The error is an *Error.
func Parse(doc []byte, l Limits) (any, error) {
	p, err := newParser(doc, l)
	if err != nil {
		return nil, err
	}
	return p.document()
}

// ParseObject is Parse for a document that must be one object.
func ParseObject(doc []byte, l Limits) (map[string]any, error) {
	p, err := newParser(doc, l)
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if p.peek() != '{' {
		return nil, p.refuse("not an object")
	}
	v, err := p.document()
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, &Error{Reason: "not an object"}
	}
	return object, nil
}

// newParser checks what concerns the document as a whole.
func newParser(doc []byte, l Limits) (*parser, error) {
	if err := checkWhole(doc, l); err != nil {
		return nil, err
	}
	if !utf8.Valid(doc) {
		return nil, &Error{Offset: firstInvalid(doc), Reason: "invalid UTF-8"}
	}
	return &parser{doc: string(doc), limits: l}, nil
}

func checkWhole(doc []byte, l Limits) error {
	if l.Bytes <= 0 || l.Depth <= 0 || l.Values <= 0 || l.Members <= 0 {
		return &Error{Reason: "limits are not all positive"}
	}
	if len(doc) > l.Bytes {
		return &Error{Offset: l.Bytes, Reason: "document is too long"}
	}
	// RFC 8259 s8.1: JSON is UTF-8 and must not begin with a byte order mark.
	if len(doc) >= 3 && doc[0] == 0xEF && doc[1] == 0xBB && doc[2] == 0xBF {
		return &Error{Reason: "byte order mark"}
	}
	return nil
}

func firstInvalid(doc []byte) int {
	for i := 0; i < len(doc); {
		r, size := utf8.DecodeRune(doc[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(doc)
}
