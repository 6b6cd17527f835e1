package strictjson

import (
	"encoding/json"
	"strconv"
)

// plainDigitsMax is how many digits a number without an exponent may have before its size is looked at: any such number
// is far inside the range of a float64.
const plainDigitsMax = 300

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a number by the grammar of RFC 8259 s6 and keeps its text.
func (p *parser) number() (any, error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++ // no digit may follow: a leading zero would be octal to some readers
	} else if !p.digits() {
		return nil, p.refuse("number without digits")
	}
	if isDigit(p.peek()) {
		return nil, p.refuse("number with a leading zero")
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return nil, p.refuse("number without digits after the point")
		}
	}
	exponent := p.peek() == 'e' || p.peek() == 'E'
	if exponent {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			return nil, p.refuse("number without digits in the exponent")
		}
	}
	text := p.doc[start:p.at]
	if (exponent || len(text) > plainDigitsMax) && !representable(text) {
		return nil, &Error{Offset: start, Reason: "number out of range"}
	}
	return json.Number(text), nil
}

func (p *parser) digits() bool {
	start := p.at
	for isDigit(p.peek()) {
		p.at++
	}
	return p.at > start
}

// representable refuses 1e400 and 1e-400. Readers with big numbers take them (and a short text such as 1e999999999 then
// costs them gigabytes), readers with float64 fail, or see an infinity or a zero.
func representable(text string) bool {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return false
	}
	return f != 0 || isZero(text)
}

// isZero reports whether the number is written as zero, that is, with no other digit before the exponent.
func isZero(text string) bool {
	for _, c := range []byte(text) {
		if c == 'e' || c == 'E' {
			break
		}
		if '1' <= c && c <= '9' {
			return false
		}
	}
	return true
}
