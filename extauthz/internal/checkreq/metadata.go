package checkreq

import (
	"encoding/json"
	"math"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

const metadataDepthMax = 16 // nesting of one filter's metadata

// metadataTree converts filter metadata to what strictjson would have read: map[string]any, []any, string, json.Number,
// bool, nil. It is nil when Envoy sent no metadata, and not ok for what JSON cannot say.
func metadataTree(m *corev3.Metadata) (map[string]any, bool) {
	if m == nil {
		return nil, true
	}
	tree := make(map[string]any, len(m.GetFilterMetadata()))
	for name, fields := range m.GetFilterMetadata() {
		v, ok := structTree(fields, metadataDepthMax)
		if !ok {
			return nil, false
		}
		tree[name] = v
	}
	return tree, true
}

func structTree(s *structpb.Struct, depth int) (map[string]any, bool) {
	if depth == 0 {
		return nil, false
	}
	tree := make(map[string]any, len(s.GetFields()))
	for name, value := range s.GetFields() {
		v, ok := valueTree(value, depth-1)
		if !ok {
			return nil, false
		}
		tree[name] = v
	}
	return tree, true
}

func valueTree(v *structpb.Value, depth int) (any, bool) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue, true
	case *structpb.Value_BoolValue:
		return kind.BoolValue, true
	case *structpb.Value_NumberValue:
		n := kind.NumberValue
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return nil, false
		}
		return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), true
	case *structpb.Value_StructValue:
		return structTree(kind.StructValue, depth)
	case *structpb.Value_ListValue:
		return listTree(kind.ListValue, depth)
	default:
		return nil, true
	}
}

func listTree(l *structpb.ListValue, depth int) (any, bool) {
	if depth == 0 {
		return nil, false
	}
	list := make([]any, 0, len(l.GetValues()))
	for _, value := range l.GetValues() {
		v, ok := valueTree(value, depth-1)
		if !ok {
			return nil, false
		}
		list = append(list, v)
	}
	return list, true
}
