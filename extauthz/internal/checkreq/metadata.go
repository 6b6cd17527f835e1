package checkreq

import (
	"encoding/json"
	"math"
	"strconv"
)

const metadataDepthMax = 16 // nesting of one filter's metadata

// metadata converts filter metadata (envoy/config/core/v3, Metadata) to what strictjson would have read: map[string]any,
// []any, string, json.Number, bool, nil. What JSON cannot say, or nests too deep, is remembered as bad.
func (in *received) metadata(m message, to *map[string]any) bool {
	tree := make(map[string]any)
	*to = tree
	for m.next() {
		switch m.number {
		case 1:
			m.require(in.member(m.anyPart(), tree, metadataDepthMax, true))
		case 2: // map<string, Any>: never shown to anybody
			entry := m.anyPart()
			for entry.next() {
				switch entry.number {
				case 1:
					entry.oneText()
				case 2:
					packed := entry.onePart()
					for packed.next() {
						switch packed.number {
						case 1:
							packed.oneText()
						case 2:
							packed.oneBytes()
						}
					}
					entry.require(!packed.bad)
				}
			}
			m.require(!entry.bad)
		}
	}
	return !m.bad
}

// member reads one entry of a map<string, Struct> or a map<string, Value> into an object.
func (in *received) member(m message, object map[string]any, depth int, structs bool) bool {
	read := func(m message) (any, bool) {
		if structs {
			return in.object(m, depth)
		}
		return in.value(m, depth)
	}
	var name string
	var value any
	valued := false
	for m.next() {
		switch m.number {
		case 1:
			name = m.oneText()
		case 2:
			var ok bool
			value, ok = read(m.onePart())
			m.require(ok)
			valued = true
		}
	}
	if !valued && !m.bad { // the default: an empty message
		value, _ = read(message{})
	}
	_, twice := object[name]
	object[name] = value
	return !m.bad && !twice
}

// object reads a google.protobuf.Struct.
func (in *received) object(m message, depth int) (any, bool) {
	if depth <= 0 {
		return in.tooDeep()
	}
	tree := make(map[string]any)
	for m.next() {
		if m.number == 1 {
			m.require(in.member(m.anyPart(), tree, depth-1, false))
		}
	}
	return tree, !m.bad
}

// tooDeep gives up on what lies below: well-formed or not, the request is refused.
func (in *received) tooDeep() (any, bool) {
	in.metadataBad = true
	return nil, true
}

// value reads a google.protobuf.Value.
func (in *received) value(m message, depth int) (v any, _ bool) {
	for m.next() {
		if m.number > 6 {
			continue
		}
		m.once(0) // all are members of one oneof
		var ok bool
		switch m.number {
		case 1:
			m.oneVarint()
		case 2:
			n := m.double()
			in.metadataBad = in.metadataBad || math.IsNaN(n) || math.IsInf(n, 0)
			v = json.Number(strconv.FormatFloat(n, 'g', -1, 64))
		case 3:
			v = m.anyText()
		case 4:
			v = m.oneVarint() != 0
		case 5:
			v, ok = in.object(m.anyPart(), depth)
			m.require(ok)
		case 6:
			v, ok = in.list(m.anyPart(), depth)
			m.require(ok)
		}
	}
	return v, !m.bad
}

// list reads a google.protobuf.ListValue.
func (in *received) list(m message, depth int) (any, bool) {
	if depth <= 0 {
		return in.tooDeep()
	}
	list := []any{}
	for m.next() {
		if m.number == 1 {
			v, ok := in.value(m.anyPart(), depth-1)
			m.require(ok)
			list = append(list, v)
		}
	}
	return list, !m.bad
}
