package checkresp

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// appendEntry appends an entry of a google.protobuf.Struct.
func appendEntry(b []byte, name string, v any, depth int) ([]byte, error) {
	value, err := appendValue(nil, v, depth)
	if err != nil || !utf8.ValidString(name) {
		return nil, ErrMetadata
	}
	return appendBytes(appendText(b, fieldKey, name), fieldValue, value), nil
}

// appendValue appends a google.protobuf.Value.
func appendValue(b []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return appendVarint(b, kindNull, 0), nil
	case bool:
		return appendVarint(b, kindBool, protowire.EncodeBool(v)), nil
	case string:
		if !utf8.ValidString(v) {
			return nil, ErrMetadata
		}
		return appendElement(b, kindString, v), nil
	case json.Number:
		f, err := v.Float64()
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, ErrMetadata
		}
		return protowire.AppendFixed64(protowire.AppendTag(b, kindNumber, protowire.Fixed64Type), math.Float64bits(f)), nil
	case map[string]any:
		return appendObject(b, v, depth)
	case []any:
		return appendList(b, v, depth)
	default:
		return nil, ErrMetadata
	}
}

func appendObject(b []byte, tree map[string]any, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, ErrMetadata
	}
	var object []byte
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		entry, err := appendEntry(nil, name, tree[name], depth-1)
		if err != nil {
			return nil, err
		}
		object = appendBytes(object, fieldFields, entry)
	}
	return appendBytes(b, kindStruct, object), nil
}

func appendList(b []byte, elements []any, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, ErrMetadata
	}
	var list []byte
	for _, element := range elements {
		value, err := appendValue(nil, element, depth-1)
		if err != nil {
			return nil, err
		}
		list = appendBytes(list, fieldFields, value)
	}
	return appendBytes(b, kindList, list), nil
}
