package policy

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// someTree makes a small JSON document whose texts collide wherever an encoding forgets their lengths.
func someTree(t *rapid.T, depth int) any {
	text := rapid.SampledFrom([]string{"", "a", "b", "aa", "s\x01a", "\x01", "1", "a.b"})
	kinds := 5
	if depth > 0 {
		kinds = 7
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return json.Number(rapid.SampledFrom([]string{"0", "1", "11", "-1"}).Draw(t, "number"))
	case 3, 4:
		return text.Draw(t, "text")
	case 5:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, someTree(t, depth-1))
		}
		return list
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			object[text.Draw(t, "name")] = someTree(t, depth-1)
		}
		return object
	}
}

// at is what AppendKey does, said with Go values: the value, or the depth and why.
func at(tree any, path []string) any {
	type end struct {
		depth int
		why   string
	}
	for depth, name := range path {
		object, ok := tree.(map[string]any)
		if !ok {
			return end{depth, "not an object"}
		}
		if tree, ok = object[name]; !ok {
			return end{depth, "absent"}
		}
	}
	return tree
}

func pack(t interface{ Fatal(...any) }, tree any) Packed {
	var p Packer
	p.Any(tree)
	packed, err := p.Packed()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// What is packed and built anew is what FromAny builds, and refused where FromAny refuses it.
func TestPackedValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tree := someTree(t, 4)
		want, err := FromAny(tree)
		if err != nil {
			t.Fatal(err)
		}
		if got := pack(t, tree).Value(); got.Compare(want) != 0 {
			t.Fatalf("%v became %v", want, got)
		}
	})
	deep := any("x")
	for range anyDepthMax {
		deep = []any{deep}
	}
	for name, tree := range map[string]any{
		"a number too long": json.Number(strings.Repeat("1", 65)), "no number": json.Number("0x1"), "too large": json.Number("1e999"), "too deep": deep, "a Go type": 1,
		"within": map[string]any{"a": []any{json.Number("")}},
	} {
		var p Packer
		p.Any(tree)
		if _, err := p.Packed(); err == nil {
			t.Errorf("%s was packed", name)
		}
		if _, err := FromAny(tree); err == nil {
			t.Errorf("%s has a value", name)
		}
	}
	if (Packed{}).Value() != nil {
		t.Error("nothing is something")
	}
}

// A Packer that is told member by member writes what it writes for a tree.
func TestPackedMemberByMember(t *testing.T) {
	t.Parallel()
	var p Packer
	p.Object(3)
	p.Name("a")
	p.Int(-7)
	p.Name("b")
	p.Strings([]string{"x", ""})
	p.Name("c")
	p.String(strings.Repeat("long", 100))
	got, err := p.Packed()
	want := pack(t, map[string]any{"c": strings.Repeat("long", 100), "b": []any{"x", ""}, "a": json.Number("-7")})
	if err != nil || got != want {
		t.Errorf("%q, %v; want %q", got.Text(), err, want.Text())
	}
}

// Two values have one key exactly when they agree at the path: in value, or in how deep the path goes and why it ends.
func TestSelectorTellsApartWhatDiffers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one, other := someTree(t, 3), someTree(t, 3)
		path := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ""}), 0, 3).Draw(t, "path")
		s := NewSelector(path...)
		got := bytes.Equal(s.AppendKey(nil, pack(t, one)), s.AppendKey(nil, pack(t, other)))
		if want := reflect.DeepEqual(at(one, path), at(other, path)); got != want {
			t.Fatalf("%v and %v at %q: one key: %v", one, other, path, got)
		}
	})
}

// No key is the beginning of another, so that keys written one after the other cannot run into each other.
func TestKeysEndWhereTheyEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(t, "path")
		s := NewSelector(path...)
		one, other := s.AppendKey(nil, pack(t, someTree(t, 3))), s.AppendKey(nil, pack(t, someTree(t, 3)))
		if bytes.HasPrefix(one, other) && !bytes.Equal(one, other) {
			t.Fatalf("%q begins with %q", one, other)
		}
	})
}

func TestSelectorOfNothing(t *testing.T) {
	t.Parallel()
	for _, path := range [][]string{nil, {"a"}} {
		nothing, empty := NewSelector(path...).AppendKey(nil, Packed{}), NewSelector(path...).AppendKey(nil, pack(t, map[string]any{}))
		if bytes.Equal(nothing, empty) {
			t.Errorf("at %q an object is taken for nothing at all", path)
		}
	}
	if got := NewSelector("a").AppendKey([]byte("before"), pack(t, "x")); !strings.HasPrefix(string(got), "before") {
		t.Errorf("what was there is gone: %q", got)
	}
}

func TestWhere(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, "t/d", Config{}, "package t\n\nd if {\n\tinput.a.b.c\n\te\n}\n\ne if {\n\tinput.x\n\tinput.a.b\n}\n").ReadSet()
	for path, want := range map[string]int{"a.b": 10, "x": 9, "a.b.c": 0, "a": 0} {
		got := s.Where(strings.Split(path, ".")...)
		if got.Line != want || (got.File != "") != (want != 0) {
			t.Errorf("%s: %+v, want line %d", path, got, want)
		}
	}
	for l, want := range map[Location]string{{}: "", {File: "a.rego"}: "a.rego", {File: "a.rego", Line: 3, Builtin: "f"}: "a.rego:3"} {
		if l.String() != want {
			t.Errorf("%+v is %q", l, l.String())
		}
	}
	if got := slices.Concat(s.Paths()...); len(got) != 3 {
		t.Errorf("paths %q", got)
	}
}
