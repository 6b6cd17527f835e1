package web

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/agentidp/agentidp/internal/problem"
)

// bind copies a strictjson tree into a Go value. Member names match exactly, in their case; a struct field is required unless it is tagged omitempty;
// null is never accepted, because it could mean "leave it" or "clear it". at is the JSON pointer (RFC 6901) of tree; our names need no escapes in it.
//
// encoding/json is not used because it ignores unknown members, matches names in any case and takes null for anything.
func bind(tree any, into reflect.Value, at string) error {
	if u, ok := into.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return bindText(tree, u, at)
	}
	switch into.Kind() {
	case reflect.Struct:
		return bindStruct(tree, into, at)
	case reflect.Slice:
		return bindSlice(tree, into, at)
	case reflect.Pointer:
		value := reflect.New(into.Type().Elem())
		if err := bind(tree, value.Elem(), at); err != nil {
			return err
		}
		into.Set(value)
		return nil
	case reflect.String:
		s, ok := tree.(string)
		if !ok {
			return wrongType(at, "a string")
		}
		into.SetString(strings.Clone(s)) // strictjson's strings share the whole document
		return nil
	case reflect.Bool:
		b, ok := tree.(bool)
		if !ok {
			return wrongType(at, "true or false")
		}
		into.SetBool(b)
		return nil
	case reflect.Int64:
		return bindInt(tree, into, at)
	}
	panic("web: no request may have a " + into.Type().String()) // bindable refused it when the handler was made
}

func bindStruct(tree any, into reflect.Value, at string) error {
	object, ok := tree.(map[string]any)
	if !ok {
		return wrongType(at, "an object")
	}
	known := 0
	for i := range into.NumField() {
		name, required := member(into.Type().Field(i))
		value, given := object[name]
		switch {
		case given:
			known++
			if err := bind(value, into.Field(i), at+"/"+name); err != nil {
				return err
			}
		case required:
			return &problem.Error{Kind: problem.Invalid, Code: "missing_field", Detail: "This field is required.", Field: at + "/" + name}
		}
	}
	if known == len(object) {
		return nil
	}
	return unknownField(object, into.Type(), at)
}

// unknownField names the member when its name is harmless to repeat, else the object it is in.
func unknownField(object map[string]any, into reflect.Type, at string) error {
	names := make(map[string]bool, into.NumField())
	for i := range into.NumField() {
		name, _ := member(into.Field(i))
		names[name] = true
	}
	field := ""
	for name := range object {
		if candidate := nameable(name); !names[name] && candidate > field {
			field = candidate // the last one, so that the answer does not depend on map order
		}
	}
	if field != "" {
		at += "/" + field
	}
	return &problem.Error{Kind: problem.Invalid, Code: "unknown_field", Detail: "There is no such field here. Names are case-sensitive.", Field: at}
}

func bindSlice(tree any, into reflect.Value, at string) error {
	list, ok := tree.([]any)
	if !ok {
		return wrongType(at, "a list")
	}
	into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
	for i, element := range list {
		if err := bind(element, into.Index(i), at+"/"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return nil
}

// bindInt takes whole numbers as they are usually written: 1e3 and 1.0 are refused.
func bindInt(tree any, into reflect.Value, at string) error {
	number, ok := tree.(json.Number)
	if !ok {
		return wrongType(at, "a whole number")
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil {
		return wrongType(at, "a whole number")
	}
	into.SetInt(n)
	return nil
}

func bindText(tree any, into encoding.TextUnmarshaler, at string) error {
	s, ok := tree.(string)
	if !ok {
		return wrongType(at, "a string")
	}
	if err := into.UnmarshalText([]byte(s)); err != nil {
		return &problem.Error{Kind: problem.Invalid, Code: "invalid_id", Detail: err.Error(), Field: at}
	}
	return nil
}

func wrongType(at, want string) error {
	return &problem.Error{Kind: problem.Invalid, Code: "wrong_type", Detail: "This must be " + want + ".", Field: at}
}

// member is the JSON name of a field and whether it must be given.
func member(f reflect.StructField) (name string, required bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, options != "omitempty"
}

// bindable refuses, when a handler is made, request types that bind could not fill.
func bindable(t reflect.Type) error {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int64:
		return nil
	case reflect.Slice, reflect.Pointer:
		return bindable(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if name, _ := member(f); name == "" || !f.IsExported() {
				return fmt.Errorf("%s.%s has no JSON name", t, f.Name)
			}
			if err := bindable(f.Type); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s cannot be read from a request", t)
}
