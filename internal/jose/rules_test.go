package jose_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// Caches go by Equal: a field that it left out would let what was verified under one rule count under another. The fields are found by reflection, so that a
// new one is in this test from its first day.
func TestRulesAreEqualOnlyInEveryField(t *testing.T) {
	t.Parallel()
	if a, b := josetest.Rules(), josetest.Rules(); !a.Equal(b) || !b.Equal(a) {
		t.Error("the same rules, in lists of their own, are not equal")
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[jose.Rules]()) {
		a, b := josetest.Rules(), josetest.Rules()
		set(t, field.Name, reflect.ValueOf(b).Elem().FieldByIndex(field.Index))
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("rules that differ in %s are equal", field.Name)
		}
	}
}

// set gives a field another value. A list keeps its length: one element differs.
func set(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		if v.Len() == 0 {
			t.Fatalf("josetest.Rules has no %s to change", name)
		}
		set(t, name, v.Index(v.Len()-1))
	default:
		t.Fatalf("%s is of a kind this test cannot change: teach it", name)
	}
}

// What is equal in its elements but not in their order, or is longer, is another list.
func TestRulesCompareListsInOrder(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*jose.Rules){
		"one more audience":  func(r *jose.Rules) { r.Audiences = append(r.Audiences, "svc://other") },
		"no audience":        func(r *jose.Rules) { r.Audiences = nil },
		"one type less":      func(r *jose.Rules) { r.Types = r.Types[1:] },
		"one algorithm less": func(r *jose.Rules) { r.Algorithms = r.Algorithms[1:] },
		"another order":      func(r *jose.Rules) { slices.Reverse(r.Algorithms) },
	} {
		a, b := josetest.Rules(), josetest.Rules()
		change(b)
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("%s: equal", name)
		}
	}
}
