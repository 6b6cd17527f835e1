package strictjson

import "unicode/utf8"

// ParseObjectAround reads an object strictly, all but the elements of the list that is its member name: of them only the ends are
// looked for. So one broken element does not take the others with it; whoever reads an element reads it strictly, by itself. The limits
// Depth, Values and Members are for what lies around the list.
//
// The object comes without the list. The elements are parts of doc; nil when the member is missing or not a list.
func ParseObjectAround(doc []byte, name string, l Limits) (object map[string]any, elements [][]byte, err error) {
	if err := checkWhole(doc, l); err != nil {
		return nil, nil, err
	}
	p := &parser{doc: string(doc), limits: l}
	p.skipSpace()
	if p.peek() != '{' {
		return nil, nil, p.refuse("not an object")
	}
	if err := p.open(); err != nil {
		return nil, nil, err
	}
	r := aroundReader{parser: p, name: name, seen: map[string]bool{}, object: map[string]any{}, list: span{len(doc), len(doc)}}
	if err := r.members(); err != nil {
		return nil, nil, err
	}
	p.skipSpace()
	if p.at != len(doc) {
		return nil, nil, p.refuse("bytes after the value")
	}
	for _, part := range []span{{0, r.list.from}, {r.list.to, len(doc)}} {
		if text := doc[part.from:part.to]; !utf8.Valid(text) {
			return nil, nil, &Error{Offset: part.from + firstInvalid(text), Reason: "invalid UTF-8"}
		}
	}
	if r.elements == nil {
		return r.object, nil, nil
	}
	elements = make([][]byte, 0, len(r.elements))
	for _, e := range r.elements {
		elements = append(elements, doc[e.from:e.to])
	}
	return r.object, elements, nil
}

// span is a part of the document.
type span struct{ from, to int }

// aroundReader reads the members of the object that the parser has just opened.
type aroundReader struct {
	*parser
	name     string
	seen     map[string]bool
	object   map[string]any // the members but for the list
	list     span
	elements []span // nil: there was no list
}

func (r *aroundReader) members() error {
	if r.peek() == '}' {
		r.at++
		return nil
	}
	for more := true; more; {
		start := r.at
		name, err := r.memberName()
		if err != nil {
			return err
		}
		if r.seen[name] {
			return &Error{Offset: start, Reason: "duplicate member"}
		}
		if r.seen[name] = true; len(r.seen) > r.limits.Members {
			return &Error{Offset: start, Reason: "too many members"}
		}
		if name == r.name && r.peek() == '[' {
			err = r.readList()
		} else {
			r.object[name], err = r.value()
		}
		if err == nil {
			more, err = r.next('}')
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readList finds the elements of the list the parser stands at.
func (r *aroundReader) readList() error {
	r.list.from = r.at
	if err := r.open(); err != nil {
		return err
	}
	r.elements = []span{}
	if r.peek() == ']' {
		r.at++
		r.depth--
		r.list.to = r.at
		return nil
	}
	for more := true; more; {
		element := span{from: r.at}
		err := r.skipElement()
		if err != nil {
			return err
		}
		element.to = r.at
		r.elements = append(r.elements, element)
		if more, err = r.next(']'); err != nil {
			return err
		}
	}
	r.list.to = r.at
	return nil
}

// skipElement passes one element of a list, by nothing but its strings and brackets: whatever else it is made of, where it ends is the same
// for everyone who takes it for JSON. An element with brackets that do not match, or without an end, has no end: then the list has none.
func (p *parser) skipElement() error {
	start := p.at
	var open []byte // what closes the containers that are open
	for ; p.at < len(p.doc); p.at++ {
		switch c := p.doc[p.at]; c {
		case '"':
			if !p.skipString() {
				return &Error{Offset: len(p.doc), Reason: "string does not end"}
			}
		case '{':
			open = append(open, '}')
		case '[':
			open = append(open, ']')
		case '}', ']', ',':
			if len(open) == 0 {
				if p.at == start {
					return p.refuse("no value")
				}
				return nil
			}
			if c == ',' {
				continue
			}
			if open[len(open)-1] != c {
				return p.refuse("no comma and no end of the container")
			}
			open = open[:len(open)-1]
		}
	}
	return p.refuse("no comma and no end of the container")
}

// skipString goes to the last byte of the string that begins here.
func (p *parser) skipString() bool {
	for p.at++; p.at < len(p.doc); p.at++ {
		switch p.doc[p.at] {
		case '\\':
			p.at++
		case '"':
			return true
		}
	}
	return false
}
