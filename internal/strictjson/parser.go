package strictjson

// parser walks one document from left to right and never back. doc is known to be valid UTF-8.
type parser struct {
	doc    string
	at     int // next byte to read
	limits Limits
	values int // values begun so far
	depth  int // containers open now
}

// refuse reports the byte the parser stands at.
func (p *parser) refuse(reason string) error {
	return &Error{Offset: p.at, Reason: reason}
}

// peek returns the next byte, or 0 at the end: NUL begins nothing in JSON, so the two need no telling apart here.
func (p *parser) peek() byte {
	if p.at < len(p.doc) {
		return p.doc[p.at]
	}
	return 0
}

// skipSpace passes the four white-space bytes of RFC 8259 s2 and no other.
func (p *parser) skipSpace() {
	for p.at < len(p.doc) {
		switch p.doc[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) document() (any, error) {
	p.skipSpace()
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if p.at != len(p.doc) {
		return nil, p.refuse("bytes after the value")
	}
	return v, nil
}

// value reads one value; the parser stands at its first byte.
func (p *parser) value() (any, error) {
	p.values++
	if p.values > p.limits.Values {
		return nil, p.refuse("too many values")
	}
	switch c := p.peek(); c {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return p.str()
	case 't':
		return true, p.literal("true")
	case 'f':
		return false, p.literal("false")
	case 'n':
		return nil, p.literal("null")
	default:
		if c == '-' || isDigit(c) {
			return p.number()
		}
		return nil, p.refuse("no value")
	}
}

func (p *parser) literal(word string) error {
	if len(p.doc)-p.at < len(word) || p.doc[p.at:p.at+len(word)] != word {
		return p.refuse("no value")
	}
	p.at += len(word)
	return nil
}

// open enters a container, passing its first byte.
func (p *parser) open() error {
	if p.depth == p.limits.Depth {
		return p.refuse("nested too deeply")
	}
	p.depth++
	p.at++
	p.skipSpace()
	return nil
}

// next passes what stands between two elements. It reports false when end closed the container.
func (p *parser) next(end byte) (bool, error) {
	p.skipSpace()
	switch p.peek() {
	case ',':
		p.at++
		p.skipSpace()
		return true, nil
	case end:
		p.at++
		p.depth--
		return false, nil
	}
	return false, p.refuse("no comma and no end of the container")
}

func (p *parser) array() (any, error) {
	if err := p.open(); err != nil {
		return nil, err
	}
	list := []any{}
	if p.peek() == ']' {
		p.at++
		p.depth--
		return list, nil
	}
	for more := true; more; {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		if more, err = p.next(']'); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (p *parser) object() (any, error) {
	if err := p.open(); err != nil {
		return nil, err
	}
	object := make(map[string]any)
	if p.peek() == '}' {
		p.at++
		p.depth--
		return object, nil
	}
	for more := true; more; {
		start := p.at
		name, v, err := p.member()
		if err != nil {
			return nil, err
		}
		// The name is compared after its escapes were resolved: "a" and "\u0061" are one name (RFC 8259 s8.3).
		before := len(object)
		object[name] = v
		if len(object) == before {
			return nil, &Error{Offset: start, Reason: "duplicate member"}
		}
		if len(object) > p.limits.Members {
			return nil, &Error{Offset: start, Reason: "too many members"}
		}
		if more, err = p.next('}'); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func (p *parser) member() (name string, v any, err error) {
	if name, err = p.memberName(); err != nil {
		return "", nil, err
	}
	v, err = p.value()
	return name, v, err
}

// memberName passes the colon behind it, too.
func (p *parser) memberName() (string, error) {
	if p.peek() != '"' {
		return "", p.refuse("no member name")
	}
	name, err := p.str()
	if err != nil {
		return "", err
	}
	p.skipSpace()
	if p.peek() != ':' {
		return "", p.refuse("no colon after the member name")
	}
	p.at++
	p.skipSpace()
	return name, nil
}
