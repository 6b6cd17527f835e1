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
