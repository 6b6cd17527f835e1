package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// stricter are the only causes for which a document that encoding/json takes may be refused.
var stricter = map[string]bool{
	"duplicate member": true, "invalid UTF-8": true, "lone surrogate": true, "number out of range": true,
	"document is too long": true, "nested too deeply": true, "too many values": true, "too many members": true,
}

// FuzzParse compares with encoding/json in both directions: what is accepted here has the same values there, and what is
// refused here though valid there is refused for one of the stated causes.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `null`, ` [1,-0.5e+3,"x"] `, `{"a":{"b":[true,false,null]},"c":"\ud83d\ude00"}`, `{"a":1,"\u0061":2}`,
		`"\ud800"`, `[1e400]`, `[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]`, "\ufeff{}", `{"a":1}{"a":2}`, "\"\xff\"", `{"a":1,}`, `01`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, err := strictjson.Parse(doc, roomy)
		if err != nil {
			var refusal *strictjson.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("error is %T", err)
			}
			if refusal.Offset < 0 || refusal.Offset > len(doc) {
				t.Fatalf("offset %d of a document of %d bytes", refusal.Offset, len(doc))
			}
			if json.Valid(doc) && !stricter[refusal.Reason] {
				t.Fatalf("encoding/json takes %q, refused here: %v", doc, err)
			}
			return
		}
		want, err := standard(doc)
		if err != nil {
			t.Fatalf("accepted %q, encoding/json: %v", doc, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-encoding/json +strictjson):\n%s", doc, diff)
		}
		var floats any
		if err := json.Unmarshal(doc, &floats); err != nil {
			t.Fatalf("accepted %q, but float64 cannot hold it: %v", doc, err)
		}
	})
}

func standard(doc []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("bytes after the value")
	}
	return v, nil
}

// FuzzParseObjectAround compares with Parse: what Parse reads is read here with the same members and elements, and where only elements are
// refused by Parse, encoding/json finds the same ones.
func FuzzParseObjectAround(f *testing.F) {
	for _, seed := range []string{`{"l":[1,{"a":[2]},"]"],"x":1}`, `{"l":[{"a":1,"a":2},1e400]}`, `{"l":[[}]]}`, `{"l":["\\"," ]"],"l":1}`, `{"\u006c":[]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		object, elements, err := strictjson.ParseObjectAround(doc, "l", roomy)
		whole, wholeErr := strictjson.ParseObject(doc, roomy)
		if err != nil {
			if wholeErr == nil {
				t.Fatalf("%q: %v, and as a whole it is read", doc, err)
			}
			return
		}
		if !json.Valid(doc) {
			return // an element is no JSON
		}
		var raw map[string]json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(doc, &raw) == nil && json.Unmarshal(raw["l"], &list) == nil && len(list) != len(elements) {
			t.Fatalf("%q: %d elements, encoding/json: %d", doc, len(elements), len(list))
		}
		for i := range list {
			if !bytes.Equal(bytes.TrimSpace(elements[i]), list[i]) {
				t.Fatalf("%q: element %q, encoding/json: %q", doc, elements[i], list[i])
			}
		}
		if wholeErr == nil {
			if len(object)+min(1, len(elements)) > len(whole) {
				t.Fatalf("%q: %v, as a whole: %v", doc, object, whole)
			}
		}
	})
}
