package checkreq

import (
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// message scans one protobuf message, field by field, in the form in which it came. It is stricter than a decoder: a
// singular field that comes twice is bad (decoders keep the last, or merge; Envoy sends one), and so is a known field of
// another wire type (decoders skip it). Unknown fields are skipped when they are well-formed. Once bad, it stays bad and
// yields nothing more.
//
// wire and text are the same bytes: protowire reads slices, a Request keeps strings, and all its strings are parts of one.
type message struct {
	wire []byte
	text string
	seen uint32 // bit n: singular field n came
	bad  bool

	at   int // where the field after the one next found begins
	from int // where the value of a BytesType field begins; it ends at at

	number protowire.Number
	kind   protowire.Type
	varint uint64 // value of a VarintType or Fixed64Type field
}

// next goes to the next field. It returns false at the end, and when the message is bad.
func (m *message) next() bool {
	if m.bad || m.at == len(m.wire) {
		return false
	}
	number, kind, n := protowire.ConsumeTag(m.wire[m.at:])
	if n < 0 || number > protowire.MaxValidNumber {
		return m.fail()
	}
	m.at += n
	m.number, m.kind = number, kind
	rest := m.wire[m.at:]
	switch kind {
	case protowire.VarintType:
		m.varint, n = protowire.ConsumeVarint(rest)
	case protowire.Fixed64Type:
		m.varint, n = protowire.ConsumeFixed64(rest)
	case protowire.BytesType:
		length, prefix := protowire.ConsumeVarint(rest)
		if prefix < 0 || length > uint64(len(rest)-prefix) {
			return m.fail()
		}
		m.from, n = m.at+prefix, prefix+int(length)
	default: // fixed32, groups: nothing here has them
		n = protowire.ConsumeFieldValue(number, kind, rest)
	}
	if n < 0 {
		return m.fail()
	}
	m.at += n
	return true
}

func (m *message) fail() bool {
	m.bad = true
	return false
}

// require makes the message bad when a part of it is.
func (m *message) require(ok bool) { m.bad = m.bad || !ok }

// once is for singular fields: it makes the message bad when the field came before. Members of a oneof share a bit.
func (m *message) once(field int) {
	m.require(m.seen&(1<<field) == 0)
	m.seen |= 1 << field
}

// anyText is the string of the field next found.
func (m *message) anyText() string {
	if m.kind != protowire.BytesType {
		m.bad = true
		return ""
	}
	text := m.text[m.from:m.at]
	m.require(utf8.ValidString(text)) // as every proto3 decoder does
	return text
}

// oneText is anyText of a singular field.
func (m *message) oneText() string {
	m.once(int(m.number))
	return m.anyText()
}

// oneBytes is the value of a singular bytes field.
func (m *message) oneBytes() string {
	m.once(int(m.number))
	if m.kind != protowire.BytesType {
		m.bad = true
		return ""
	}
	return m.text[m.from:m.at]
}

// anyPart is the message that is the value of the field next found.
func (m *message) anyPart() message {
	if m.kind != protowire.BytesType {
		m.bad = true
		return message{bad: true}
	}
	return message{wire: m.wire[m.from:m.at], text: m.text[m.from:m.at]}
}

// onePart is anyPart of a singular field.
func (m *message) onePart() message {
	m.once(int(m.number))
	return m.anyPart()
}

// oneVarint is the value of a singular field of an integer type.
func (m *message) oneVarint() uint64 {
	m.once(int(m.number))
	m.require(m.kind == protowire.VarintType)
	return m.varint
}

// double is the value of the double field next found.
func (m *message) double() float64 {
	m.require(m.kind == protowire.Fixed64Type)
	return math.Float64frombits(m.varint)
}

// textEntry reads an entry of map<string, string>.
func (m message) textEntry() (key, value string, ok bool) {
	for m.next() {
		switch m.number {
		case 1:
			key = m.oneText()
		case 2:
			value = m.oneText()
		}
	}
	return key, value, !m.bad
}

// texts adds the entry next found to a map<string, string>, up to max of them: the caller refuses more. A key that comes
// twice is bad.
func (m *message) texts(to map[string]string, max int) map[string]string {
	key, value, ok := m.anyPart().textEntry()
	_, twice := to[key]
	m.require(ok && !twice)
	if to == nil {
		to = make(map[string]string)
	}
	if len(to) < max {
		to[key] = value
	}
	return to
}
