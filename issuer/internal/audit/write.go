package audit

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/agentidp/agentidp/internal/plainjson"
)

// appendRecord writes version 1 as encoding/json writes encoded, without escapes for HTML: TestEncodeWritesAsEncodingJSON compares the two. details are plain.
func appendRecord(b []byte, r Record, details map[string]any) []byte {
	b = strconv.AppendInt(append(b, `{"v":`...), EncodingVersion, 10)
	b = text(b, `,"id":`, r.ID.String())
	b = text(b, `,"organizationId":`, r.OrganizationID.String())
	b = text(b, `,"time":`, r.Time.UTC().Format(timeLayout))
	b = text(b, `,"actor":{"kind":`, r.Actor.Kind)
	b = text(b, `,"id":`, r.Actor.ID)
	b = text(b, `,"requestId":`, r.Actor.RequestID)
	b = text(b, `,"source":`, r.Actor.Source)
	b = text(b, `},"action":`, string(r.Action))
	b = text(b, `,"target":`, r.Target)
	if len(details) > 0 {
		b = appendValue(append(b, `,"details":`...), details)
	}
	return append(b, '}')
}

func text(b []byte, name, value string) []byte {
	return plainjson.AppendString(append(b, name...), value, false)
}

// appendValue writes a plain value: what plainValue accepts, and what withoutSecrets makes.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return plainjson.AppendString(b, v, false)
	case bool:
		return strconv.AppendBool(b, v)
	case json.Number:
		return append(b, v...)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case []string:
		b = append(b, '[')
		for i, s := range v {
			b = plainjson.AppendString(comma(b, i), s, false)
		}
		return append(b, ']')
	case []any:
		b = append(b, '[')
		for i, e := range v {
			b = appendValue(comma(b, i), e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			b = append(plainjson.AppendString(comma(b, i), name, false), ':')
			b = appendValue(b, v[name])
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func comma(b []byte, i int) []byte {
	if i == 0 {
		return b
	}
	return append(b, ',')
}

// plainDetails copies details that are made of what JSON has, with secrets masked; ok is false for anything else, which goes through encoding/json first.
func plainDetails(details map[string]any) (plain map[string]any, ok bool) {
	plain = make(map[string]any, len(details))
	for name, v := range details {
		if !utf8.ValidString(name) {
			return nil, false
		}
		if plain[name], ok = plainValue(v); !ok {
			return nil, false
		}
	}
	return plain, true
}

func plainValue(v any) (plain any, ok bool) {
	switch v := v.(type) {
	case nil, bool, int64:
		return v, true
	case int:
		return int64(v), true
	case string:
		return maskValue(v), utf8.ValidString(v)
	case []string:
		if v == nil {
			return nil, true
		}
		for _, s := range v {
			if !utf8.ValidString(s) || looksSecret(s) {
				return nil, false
			}
		}
		return v, true
	case map[string]any:
		if v == nil {
			return nil, true
		}
		return plainMap(v)
	}
	return nil, false
}

func plainMap(v map[string]any) (any, bool) {
	plain, ok := plainDetails(v)
	return plain, ok
}
