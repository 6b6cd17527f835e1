package config

import (
	"encoding"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder walks the YAML tree beside the struct. It is written by hand because the library's own decoder stops at the first
// problem of a kind, does not know the field a problem is in, and reads "1" as a string when asked to.
type decoder struct {
	report    *Report
	folder    string
	lookupEnv func(string) (string, bool)
}

var (
	typePath      = reflect.TypeFor[Path]()
	typeDuration  = reflect.TypeFor[Duration]()
	typeBytes     = reflect.TypeFor[Bytes]()
	typeSecret    = reflect.TypeFor[Secret]()
	typeOneOrMany = reflect.TypeFor[OneOrMany]()
)

func (d *decoder) errorf(n *yaml.Node, field, format string, args ...any) {
	d.report.failed[field] = true
	d.report.add(n.Line, field, format, args...)
}

// value decodes node n into v, which is settable. Problems go to the report; v then keeps what it had.
func (d *decoder) value(field string, n *yaml.Node, v reflect.Value) {
	if _, ok := d.report.lines[field]; !ok {
		d.report.lines[field] = n.Line
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.errorf(n, field, "anchors and aliases are not accepted: write the value out")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.errorf(n, field, "type tags (%s) are not accepted", n.Tag)
		return
	case n.Tag == "!!null":
		d.errorf(n, field, "has no value: give one, or leave the key out")
		return
	}
	switch v.Type() {
	case typePath, typeDuration, typeBytes:
		d.text(field, n, v)
		return
	case typeSecret:
		d.secret(field, n, v)
		return
	case typeOneOrMany:
		d.oneOrMany(field, n, v)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.unmarshalText(field, n, u)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		setDefaults(fresh.Elem())
		d.value(field, n, fresh.Elem())
		v.Set(fresh)
	case reflect.Struct:
		d.structure(field, n, v)
	case reflect.Map:
		d.dictionary(field, n, v)
	case reflect.Slice:
		d.list(field, n, v)
	default:
		d.scalar(field, n, v)
	}
}

// setDefaults lets a fresh value, and the structs it holds by value, set what the file may leave out. An outer struct comes after its
// parts, so it may choose other defaults for them.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() {
			setDefaults(v.Field(i))
		}
	}
	if s, ok := v.Addr().Interface().(interface{ SetDefaults() }); ok {
		s.SetDefaults()
	}
}

// structure decodes a mapping into a struct; keys the file leaves out keep what the struct has.
func (d *decoder) structure(field string, n *yaml.Node, v reflect.Value) {
	fields := map[string]reflect.Value{}
	names := fieldsOf(v, fields)
	d.pairs(field, n, func(key *yaml.Node, path string, value *yaml.Node) {
		target, ok := fields[key.Value]
		if !ok {
			d.errorf(key, path, "unknown key%s", suggestion(key.Value, names))
			return
		}
		d.value(path, value, target)
	})
}

// fieldsOf collects the keys of a struct, inlined structs included, in declaration order.
func fieldsOf(v reflect.Value, into map[string]reflect.Value) []string {
	var names []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			names = append(names, fieldsOf(v.Field(i), into)...)
		case name == "" || name == "-" || !f.IsExported():
		default:
			into[name] = v.Field(i)
			names = append(names, name)
		}
	}
	return names
}

// pairs visits each key of a mapping once, with its line on record; a key that comes again is a problem.
func (d *decoder) pairs(field string, n *yaml.Node, visit func(key *yaml.Node, path string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.errorf(n, field, "want keys and values, got %s", describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			d.errorf(key, field, "want plain keys; merge keys (<<) are not accepted")
			continue
		}
		path := join(field, key.Value)
		if first, twice := seen[key.Value]; twice {
			d.errorf(key, path, "duplicate key, first given in line %d", first)
			continue
		}
		seen[key.Value] = key.Line
		d.report.lines[path] = key.Line
		visit(key, path, value)
	}
}

// dictionary decodes a mapping whose keys the operator chooses.
func (d *decoder) dictionary(field string, n *yaml.Node, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	d.pairs(field, n, func(key *yaml.Node, path string, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		setDefaults(element)
		d.value(path, value, element)
		out.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), element)
	})
	v.Set(out)
}

func (d *decoder) list(field string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.errorf(n, field, "want a list, got %s", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		setDefaults(out.Index(i))
		d.value(element(field, i), item, out.Index(i))
	}
	v.Set(out)
}

func (d *decoder) oneOrMany(field string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		var one string
		d.scalar(field, n, reflect.ValueOf(&one).Elem())
		v.Set(reflect.ValueOf(OneOrMany{one}))
		return
	}
	many := make([]string, len(n.Content))
	for i, item := range n.Content {
		d.value(element(field, i), item, reflect.ValueOf(&many[i]).Elem())
	}
	v.Set(reflect.ValueOf(OneOrMany(many)))
}

// secret resolves {file: path} or {env: NAME}. Nothing of the value, not even its length, gets into a message.
func (d *decoder) secret(field string, n *yaml.Node, v reflect.Value) {
	const want = "want a reference, {file: path} or {env: NAME}: secrets do not stand in this file"
	if n.Kind != yaml.MappingNode {
		d.errorf(n, field, want)
		return
	}
	var ref struct {
		File *Path   `yaml:"file"`
		Env  *string `yaml:"env"`
	}
	before := len(d.report.problems)
	d.structure(field, n, reflect.ValueOf(&ref).Elem())
	if len(d.report.problems) > before {
		d.report.failed[field] = true // that it is then not set is no second mistake
		return
	}
	var value, file string
	switch {
	case (ref.File == nil) == (ref.Env == nil):
		d.errorf(n, field, want)
		return
	case ref.File != nil:
		data, err := readFile(string(*ref.File), secretBytesMax)
		if err != nil {
			d.errorf(n, join(field, "file"), "secret %s: %v", *ref.File, err)
			d.report.failed[field] = true
			return
		}
		value, file = trimNewline(string(data)), string(*ref.File)
	default:
		if d.lookupEnv != nil {
			value, _ = d.lookupEnv(*ref.Env)
		}
		value = trimNewline(value)
	}
	if value == "" {
		d.errorf(n, field, "the secret is empty or not set")
		return
	}
	v.Set(reflect.ValueOf(Secret{value, file}))
}

// secretBytesMax bounds a secret's file.
const secretBytesMax = 64 << 10

func trimNewline(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r") }

func (d *decoder) absolute(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(d.folder, p)
}
