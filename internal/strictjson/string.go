package strictjson

import (
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string; the parser stands at the opening quote. Without escapes the result is a part of the document.
func (p *parser) str() (string, error) {
	start := p.at + 1
	for i := start; i < len(p.doc); i++ {
		switch c := p.doc[i]; {
		case c == '"':
			p.at = i + 1
			return p.doc[start:i], nil
		case c == '\\':
			return p.escapedString(start, i)
		case c < ' ':
			return "", &Error{Offset: i, Reason: "control character in a string"}
		}
	}
	return "", &Error{Offset: len(p.doc), Reason: "string does not end"}
}

// escapedString goes on from the first backslash of a string, copying.
func (p *parser) escapedString(start, backslash int) (string, error) {
	text := append(make([]byte, 0, 2*(backslash-start)+16), p.doc[start:backslash]...)
	p.at = backslash
	for p.at < len(p.doc) {
		switch c := p.doc[p.at]; {
		case c == '"':
			p.at++
			return string(text), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, r)
		case c < ' ':
			return "", p.refuse("control character in a string")
		default:
			text = append(text, c)
			p.at++
		}
	}
	return "", p.refuse("string does not end")
}

// escape reads one escape sequence; a surrogate pair is one (RFC 8259 s7).
func (p *parser) escape() (rune, error) {
	if p.at+1 >= len(p.doc) {
		return 0, p.refuse("string does not end")
	}
	c := p.doc[p.at+1]
	if c == 'u' {
		return p.unicodeEscape()
	}
	r, known := shortEscape(c)
	if !known {
		return 0, p.refuse("unknown escape")
	}
	p.at += 2
	return r, nil
}

func shortEscape(c byte) (rune, bool) {
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	}
	return 0, false
}

// unicodeEscape refuses half a surrogate pair: parsers differ in what they make of it (RFC 8259 s8.2).
func (p *parser) unicodeEscape() (rune, error) {
	unit, ok := p.codeUnit(p.at)
	if !ok {
		return 0, p.refuse("broken unicode escape")
	}
	if !utf16.IsSurrogate(unit) {
		p.at += unicodeEscapeBytes
		return unit, nil
	}
	low, ok := p.codeUnit(p.at + unicodeEscapeBytes)
	if !ok {
		return 0, p.refuse("lone surrogate")
	}
	r := utf16.DecodeRune(unit, low)
	if r == utf8.RuneError {
		return 0, p.refuse("lone surrogate")
	}
	p.at += 2 * unicodeEscapeBytes
	return r, nil
}

// unicodeEscapeBytes is the length of \uXXXX.
const unicodeEscapeBytes = 6

func (p *parser) codeUnit(at int) (rune, bool) {
	if at+unicodeEscapeBytes > len(p.doc) || p.doc[at] != '\\' || p.doc[at+1] != 'u' {
		return 0, false
	}
	var unit rune
	for _, c := range []byte(p.doc[at+2 : at+unicodeEscapeBytes]) {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		unit = unit<<4 | rune(c)
	}
	return unit, true
}
