package tokens

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// drawClaims fills every field of the claims: a field that is added is drawn, and missed in the encoding.
func drawClaims(t *rapid.T) *accessClaims {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `"<&>`, "\u2028\x00\xff", "agt_1"}))
	var c accessClaims
	fill(t, reflect.ValueOf(&c).Elem(), text, 3)
	return &c
}

func fill(t *rapid.T, v reflect.Value, text *rapid.Generator[string], depth int) {
	switch {
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		if rapid.Bool().Draw(t, "details") {
			v.SetBytes([]byte(`[ {"type": "<x>", "n": 1.0} ]`))
		}
	case v.Kind() == reflect.String:
		v.SetString(text.Draw(t, "text"))
	case v.Kind() == reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case v.Kind() == reflect.Slice:
		if rapid.Bool().Draw(t, "list") {
			v.Set(reflect.ValueOf(rapid.SliceOfN(text, 0, 3).Draw(t, "texts")).Convert(v.Type()))
		}
	case v.Kind() == reflect.Pointer:
		if depth > 0 && rapid.Bool().Draw(t, "present") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), text, depth-1)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), text, depth)
		}
	default:
		t.Fatalf("cannot draw a %s", v.Type())
	}
}

// The encoder writes what encoding/json writes, byte for byte.
func TestEncode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawClaims(t)
		want, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.encode()
		if err != nil || string(got) != string(want) {
			t.Fatalf("%v\n got %s\nwant %s", err, got, want)
		}
	})
}

func TestEncodeRefusesDetailsThatAreNoJSON(t *testing.T) {
	t.Parallel()
	c := accessClaims{Details: json.RawMessage("[")}
	if b, err := c.encode(); err == nil {
		t.Errorf("%s", b)
	}
}
