package config

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar decodes a string, bool or number. A value must be written as what it is: a number is not taken for a string, nor "yes"
// for true, because what the operator meant is then a guess.
func (d *decoder) scalar(field string, n *yaml.Node, v reflect.Value) {
	want, tags := "", []string(nil)
	switch v.Kind() {
	case reflect.String:
		want, tags = "a string", []string{"!!str"}
	case reflect.Bool:
		want, tags = "true or false", []string{"!!bool"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		want, tags = "a whole number", []string{"!!int"}
	case reflect.Float64:
		want, tags = "a number", []string{"!!int", "!!float"}
	default:
		panic("config: unsupported field type " + v.Type().String())
	}
	if n.Kind != yaml.ScalarNode || !oneOf(n.Tag, tags) {
		hint := ""
		if v.Kind() == reflect.String && n.Kind == yaml.ScalarNode {
			hint = " (put it in quotes)"
		}
		d.errorf(n, field, "want %s, got %s%s", want, describe(n), hint)
		return
	}
	if err := n.Decode(v.Addr().Interface()); err != nil {
		d.errorf(n, field, "want %s, got one that is out of range", want)
		return
	}
	if v.Kind() == reflect.String && strings.ContainsRune(v.String(), 0) {
		d.errorf(n, field, "must not hold NUL bytes")
		v.SetString("")
	}
}

// text decodes the scalar types of this package.
func (d *decoder) text(field string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode || (n.Tag != "!!str" && (v.Type() != typeBytes || n.Tag != "!!int")) {
		d.errorf(n, field, "want %s, got %s", map[reflect.Type]string{
			typePath: "a file name", typeDuration: "a duration such as 30s", typeBytes: "a size such as 64KiB",
		}[v.Type()], describe(n))
		return
	}
	var out any
	var err error
	switch v.Type() {
	case typeDuration:
		out, err = parseDuration(n.Value)
	case typeBytes:
		out, err = parseBytes(n.Value)
	default:
		if n.Value == "" || strings.ContainsRune(n.Value, 0) {
			err = fmt.Errorf("want a file name")
		}
		out = Path(d.absolute(n.Value))
	}
	if err != nil {
		d.errorf(n, field, "%v", err)
		return
	}
	v.Set(reflect.ValueOf(out))
}

// unmarshalText decodes types that parse themselves, such as slog.Level.
func (d *decoder) unmarshalText(field string, n *yaml.Node, u encoding.TextUnmarshaler) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		d.errorf(n, field, "want a string, got %s", describe(n))
		return
	}
	err := u.UnmarshalText([]byte(n.Value))
	if _, level := u.(*slog.Level); level && err != nil {
		err = errors.New("want debug, info, warn or error")
	}
	if err != nil {
		d.errorf(n, field, "%v", err)
	}
}

func element(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

func oneOf(s string, set []string) bool {
	for _, x := range set {
		if s == x {
			return true
		}
	}
	return false
}

// describe names what stands in the file, in an operator's words. Strings are not repeated: one may be a secret put in the wrong place.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return fmt.Sprintf("the number %s", n.Value)
	case "!!bool":
		return n.Value
	case "!!timestamp":
		return "a date"
	}
	return "a string"
}
