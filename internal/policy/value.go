package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Value is a ready input or result; callers outside this package never import OPA. Values are immutable once built and
// may be shared between goroutines and between inputs: an identity is built once and used for every request it makes.
type Value = ast.Value

// Member is one named value of an object.
type Member struct {
	Name  string
	Value Value
}

// Object builds an object. Names must be distinct; a nil Value leaves its member out, so that optional parts need no
// branches at the caller.
func Object(members ...Member) Value {
	pairs := make([][2]*ast.Term, 0, len(members))
	terms := make([]ast.Term, len(members))
	for i, m := range members {
		if m.Value == nil {
			continue
		}
		terms[i].Value = m.Value
		pairs = append(pairs, [2]*ast.Term{nameTerm(m.Name), &terms[i]})
	}
	return ast.NewObject(pairs...)
}

// Array builds a list.
func Array(values ...Value) Value {
	terms := make([]ast.Term, len(values))
	refs := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i].Value = v
		refs[i] = &terms[i]
	}
	return ast.NewArray(refs...)
}

// Strings builds a list of strings.
func Strings(values []string) Value {
	terms := make([]ast.Term, len(values))
	refs := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i].Value = ast.InternedValue(v)
		refs[i] = &terms[i]
	}
	return ast.NewArray(refs...)
}

// String builds a string.
func String(s string) Value { return ast.InternedValue(s) }

// Int builds an integer.
func Int(i int64) Value { return ast.Number(strconv.FormatInt(i, 10)) }

// Bool builds a boolean.
func Bool(b bool) Value { return ast.InternedValue(b) }

// Null builds null.
func Null() Value { return ast.NullValue }

// nameTerm returns the shared term of a member name of the input document, or a fresh one for a name not among them.
func nameTerm(name string) *ast.Term {
	if t, ok := inputNames[name]; ok {
		return t
	}
	return ast.InternedTerm(name)
}

// inputNames holds the terms of the member names every request has. It is filled here once and only read afterwards.
var inputNames = internNames(
	"attributes", "source", "destination", "request", "http", "address", "socketAddress", "portValue", "principal",
	"certificate", "service", "labels", "time", "contextExtensions", "metadataContext", "id", "method", "path", "host", "scheme", "protocol",
	"headers", "query", "fragment", "size", "body", "rawBody", "parsed_path", "parsed_query", "parsed_body", "parsed_host",
	"truncated_body", "version", "ext_authz", "encoding",
	"identity", "subject", "organizationId", "issuer", "origin", "clientId", "scopes", "agent", "actors", "confirmation",
	"tokenId", "issuedAt", "expiresAt", "claims",
	":authority", ":method", ":path", ":scheme", "accept", "accept-encoding", "authorization", "content-length",
	"content-type", "user-agent", "x-envoy-attempt-count", "x-forwarded-for", "x-forwarded-proto", "x-request-id",
	"traceparent", "tracestate",
)

func internNames(names ...string) map[string]*ast.Term {
	table := make(map[string]*ast.Term, len(names))
	for _, n := range names {
		table[n] = ast.StringTerm(n)
	}
	return table
}

// Bounds of a tree given to FromAny. Depth keeps recursion over the value inside the evaluator small.
const (
	anyDepthMax    = 64
	numberBytesMax = 64
)

// FromAny builds a value from a decoded JSON tree of map[string]any, []any, string, json.Number, bool and nil.
//
// Numbers outside the range of a float64, or longer than 64 bytes, are refused: OPA computes with exact numbers, and
// 1e999999999 in a document somebody else wrote would cost a policy that compares it gigabytes of memory.
func FromAny(v any) (Value, error) { return fromAny(v, anyDepthMax) }

func fromAny(v any, depth int) (Value, error) {
	if depth == 0 {
		return nil, fmt.Errorf("nested deeper than %d", anyDepthMax)
	}
	switch v := v.(type) {
	case nil:
		return ast.NullValue, nil
	case bool:
		return Bool(v), nil
	case string:
		return String(v), nil
	case json.Number:
		return fromNumber(v)
	case []any:
		values := make([]Value, len(v))
		for i, e := range v {
			value, err := fromAny(e, depth-1)
			if err != nil {
				return nil, err
			}
			values[i] = value
		}
		return Array(values...), nil
	case map[string]any:
		members := make([]Member, 0, len(v))
		for name, e := range v {
			value, err := fromAny(e, depth-1)
			if err != nil {
				return nil, err
			}
			members = append(members, Member{name, value})
		}
		return Object(members...), nil
	default:
		return nil, fmt.Errorf("a %T is not JSON", v)
	}
}

func fromNumber(n json.Number) (Value, error) {
	if err := checkNumber(n); err != nil {
		return nil, err
	}
	return ast.Number(n), nil
}

func checkNumber(n json.Number) error {
	if len(n) > numberBytesMax {
		return errors.New("number longer than 64 bytes")
	}
	if !json.Valid([]byte(n)) { // also refuses hexadecimal, "Inf" and the empty string, which ParseFloat or OPA would take
		return errors.New("not a JSON number")
	}
	if _, err := strconv.ParseFloat(string(n), 64); err != nil {
		return errors.New("number out of range")
	}
	return nil
}
