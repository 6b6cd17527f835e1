// Package strictjson reads JSON that somebody else wrote and refuses everything two parsers could read differently:
// duplicate member names at any depth (also when one of them is written with escapes), invalid UTF-8, lone surrogates,
// bytes after the value, a byte order mark, and anything beyond the stated limits.
package strictjson

// Limits bound one document. Every field must be positive; there is no "unlimited".
type Limits struct {
	Bytes   int // length of the document
	Depth   int // nesting of objects and arrays; 1 allows one flat object
	Values  int // all values, counting containers and members
	Members int // members of any one object
}

// Parse returns the document as map[string]any, []any, string, json.Number, bool or nil.
// Numbers keep their text. The error is an *Error.
func Parse(doc []byte, l Limits) (any, error) { panic("contract") }

// ParseObject is Parse for a document that must be one object.
func ParseObject(doc []byte, l Limits) (map[string]any, error) { panic("contract") }

// Error says what is wrong and at which byte. It never repeats bytes of the document.
type Error struct {
	Offset int
	Reason string
}

func (e *Error) Error() string { panic("contract") }
