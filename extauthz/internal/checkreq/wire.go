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

	// The field next found. Only one of the last two is set, by kind.
	number protowire.Number
	kind   protowire.Type
	length int    // of a BytesType value: it ends where wire now starts
	varint uint64 // value of a VarintType or Fixed64Type field

	before []byte // wire before the value, for BytesType
	prior  string // text before the value
}

// next goes to the next field. It returns false at the end, and when the message is bad.
func (m *message) next() bool {
	if m.bad || len(m.wire) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(m.wire)
	if n < 0 || number > protowire.MaxValidNumber {
		return m.fail()
	}
	m.skip(n)
	m.number, m.kind = number, kind
	switch kind {
	case protowire.VarintType:
		m.varint, n = protowire.ConsumeVarint(m.wire)
	case protowire.Fixed64Type:
		m.varint, n = protowire.ConsumeFixed64(m.wire)
	case protowire.BytesType:
		length, prefix := protowire.ConsumeVarint(m.wire)
		if prefix < 0 || length > uint64(len(m.wire)-prefix) {
			return m.fail()
		}
		m.skip(prefix)
		m.before, m.prior, m.length, n = m.wire, m.text, int(length), int(length)
	default: // fixed32, groups: nothing here has them
		n = protowire.ConsumeFieldValue(number, kind, m.wire)
	}
	if n < 0 {
		return m.fail()
	}
	m.skip(n)
	return true
}

func (m *message) skip(n int) { m.wire, m.text = m.wire[n:], m.text[n:] }

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
	text := m.prior[:m.length]
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
	return m.prior[:m.length]
}

// anyPart is the message that is the value of the field next found.
func (m *message) anyPart() message {
	if m.kind != protowire.BytesType {
		m.bad = true
		return message{bad: true}
	}
	return message{wire: m.before[:m.length], text: m.prior[:m.length]}
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
