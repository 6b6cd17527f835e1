package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/strictjson"
)

var roomy = strictjson.Limits{Bytes: 64 << 10, Depth: 16, Values: 4096, Members: 256}

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, doc string
		want      any
	}{
		{"empty object", `{}`, map[string]any{}},
		{"empty array", `[]`, []any{}},
		{"array in array", `[[],[[]]]`, []any{[]any{}, []any{[]any{}}}},
		{"null", `null`, nil},
		{"booleans", `[true,false]`, []any{true, false}},
		{"space of every kind around everything", " \t\r\n{ \"a\" : [ 1 , 2 ] } \n", map[string]any{"a": []any{json.Number("1"), json.Number("2")}}},
		{"numbers keep their text", `[0,-0,1.50,1e9,1E+2,-2.5e-3,12345678901234567890]`, []any{
			json.Number("0"), json.Number("-0"), json.Number("1.50"), json.Number("1e9"),
			json.Number("1E+2"), json.Number("-2.5e-3"), json.Number("12345678901234567890"),
		}},
		{"a zero with any exponent", `[0e999,0.000e-9999]`, []any{json.Number("0e999"), json.Number("0.000e-9999")}},
		{"largest float", `1.7976931348623157e308`, json.Number("1.7976931348623157e308")},
		{"short escapes", `"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t"},
		{"unicode escapes in both cases", `"\u00e9\u00E9x"`, "ééx"},
		{"surrogate pair", `"\ud83d\ude00!"`, "😀!"},
		{"text before and after an escape", `"abc\nd ef!"`, "abc\nd ef!"},
		{"spaces and punctuation", `" a b, c: {d} [e] "`, " a b, c: {d} [e] "},
		{"escaped NUL", `"\u0000"`, "\x00"},
		{"raw DEL and line separator", "\"\x7f\u2028\"", "\x7f\u2028"},
		{"replacement character written by the sender", `"\ufffd�"`, "\ufffd\ufffd"},
		{"same name at different depths", `{"a":{"a":1},"b":{"a":2}}`, map[string]any{
			"a": map[string]any{"a": json.Number("1")}, "b": map[string]any{"a": json.Number("2")},
		}},
		{"names that differ in case", `{"a":1,"A":2}`, map[string]any{"a": json.Number("1"), "A": json.Number("2")}},
		{"empty name", `{"":1}`, map[string]any{"": json.Number("1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := strictjson.Parse([]byte(tt.doc), roomy)
			if err != nil {
				t.Fatalf("Parse(%s): %v", tt.doc, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Parse(%s) (-want +got):\n%s", tt.doc, diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, doc string
		offset    int
		reason    string
	}{
		{"nothing", "", 0, "no value"},
		{"only space", "  ", 2, "no value"},
		{"duplicate member", `{"a":1,"a":2}`, 7, "duplicate member"},
		{"duplicate member, one name escaped", `{"a":1,"\u0061":2}`, 7, "duplicate member"},
		{"duplicate member, escaped outside the BMP", `{"😀":1,"\ud83d\ude00":2}`, 10, "duplicate member"},
		{"duplicate member deep down", `{"a":[{"b":{"c":1,"c":1}}]}`, 18, "duplicate member"},
		{"duplicate empty name", `{"":1,"":1}`, 6, "duplicate member"},
		{"invalid UTF-8 in a string", "{\"a\":\"\xff\"}", 6, "invalid UTF-8"},
		{"overlong UTF-8", "\"\xc0\xaf\"", 1, "invalid UTF-8"},
		{"UTF-8 of a surrogate", "\"\xed\xa0\x80\"", 1, "invalid UTF-8"},
		{"cut UTF-8", "\"\xe2\x82\"", 1, "invalid UTF-8"},
		{"lone high surrogate", `"\ud800"`, 1, "lone surrogate"},
		{"lone low surrogate", `"\udc00"`, 1, "lone surrogate"},
		{"high surrogate and text", `"\ud800abcdef"`, 1, "lone surrogate"},
		{"two high surrogates", `"\ud800\ud800"`, 1, "lone surrogate"},
		{"low surrogate first", `"x\udc00\ud800"`, 2, "lone surrogate"},
		{"lone surrogate in a name", `{"\ud800":1}`, 2, "lone surrogate"},
		{"byte order mark", "\ufeff{}", 0, "byte order mark"},
		{"byte order mark alone", "\ufeff", 0, "byte order mark"},
		{"UTF-16", "{\x00}\x00", 1, "no member name"},
		{"bytes after the value", `{} x`, 3, "bytes after the value"},
		{"two objects", `{}{}`, 2, "bytes after the value"},
		{"NUL after the value", "{}\x00", 2, "bytes after the value"},
		{"form feed as space", "\f{}", 0, "no value"},
		{"no-break space", "\u00a0{}", 0, "no value"},
		{"comment", `{/**/}`, 1, "no member name"},
		{"trailing comma in an object", `{"a":1,}`, 7, "no member name"},
		{"trailing comma in an array", `[1,]`, 3, "no value"},
		{"missing comma", `[1 2]`, 3, "no comma and no end of the container"},
		{"wrong closing bracket", `[1}`, 2, "no comma and no end of the container"},
		{"single quotes", `{'a':1}`, 1, "no member name"},
		{"bare name", `{a:1}`, 1, "no member name"},
		{"number as a name", `{1:1}`, 1, "no member name"},
		{"no colon", `{"a" 1}`, 5, "no colon after the member name"},
		{"no value after the colon", `{"a":}`, 5, "no value"},
		{"object not closed", `{"a":1`, 6, "no comma and no end of the container"},
		{"string not closed", `"abc`, 4, "string does not end"},
		{"escaped string not closed", `"a\n`, 4, "string does not end"},
		{"backslash at the end", `"a\`, 2, "string does not end"},
		{"raw line feed", "\"a\nb\"", 2, "control character in a string"},
		{"raw line feed after an escape", "\"\\t\n\"", 3, "control character in a string"},
		{"raw NUL", "\"\x00\"", 1, "control character in a string"},
		{"unknown escape", `"\x41"`, 1, "unknown escape"},
		{"short unicode escape", `"\u00e"`, 1, "broken unicode escape"},
		{"unicode escape with a sign", `"\u+0e9"`, 1, "broken unicode escape"},
		{"truncated literal", `tru`, 0, "no value"},
		{"literal in capitals", `True`, 0, "no value"},
		{"literal and more", `nullx`, 4, "bytes after the value"},
		{"NaN", `NaN`, 0, "no value"},
		{"plus sign", `+1`, 0, "no value"},
		{"only a minus", `-`, 1, "number without digits"},
		{"minus and point", `-.5`, 1, "number without digits"},
		{"leading point", `.5`, 0, "no value"},
		{"trailing point", `1.`, 2, "number without digits after the point"},
		{"leading zero", `01`, 1, "number with a leading zero"},
		{"leading zero after a minus", `-01`, 2, "number with a leading zero"},
		{"hexadecimal", `0x10`, 1, "bytes after the value"},
		{"empty exponent", `1e`, 2, "number without digits in the exponent"},
		{"exponent with only a sign", `1e+`, 3, "number without digits in the exponent"},
		{"too large for a float", `[1e400]`, 1, "number out of range"},
		{"costly for big numbers", `1e999999999`, 0, "number out of range"},
		{"too small for a float", `1e-400`, 0, "number out of range"},
		{"too many digits for a float", strings.Repeat("9", 310), 0, "number out of range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := strictjson.Parse([]byte(tt.doc), roomy)
			checkError(t, err, tt.offset, tt.reason)
			if v != nil {
				t.Errorf("Parse(%q) gives %v beside the error", tt.doc, v)
			}
		})
	}
}

func checkError(t *testing.T, err error, offset int, reason string) {
	t.Helper()
	var refusal *strictjson.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("error is %T (%v), want *strictjson.Error", err, err)
	}
	if diff := cmp.Diff(strictjson.Error{Offset: offset, Reason: reason}, *refusal); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	small := strictjson.Limits{Bytes: 40, Depth: 2, Values: 6, Members: 3}
	tests := []struct {
		name, doc string
		offset    int
		reason    string // empty: accepted
	}{
		{"exactly as long as allowed", `"` + strings.Repeat("x", 38) + `"`, 0, ""},
		{"a byte too long", `"` + strings.Repeat("x", 39) + `"`, 40, "document is too long"},
		{"as deep as allowed", `[{}]`, 0, ""},
		{"too deep, array", `[[[]]]`, 2, "nested too deeply"},
		{"too deep, object", `{"a":{"b":{}}}`, 10, "nested too deeply"},
		{"depth is given back when a container ends", `[[],[],[]]`, 0, ""},
		{"as many values as allowed", `[1,2,3,4,5]`, 0, ""},
		{"too many values", `[1,2,3,4,5,6]`, 11, "too many values"},
		{"as many members as allowed", `{"a":1,"b":2,"c":3}`, 0, ""},
		{"too many members", `{"a":1,"b":2,"c":3,"d":4}`, 19, "too many members"},
		{"members are counted per object", `[{"a":1,"b":2},{"a":1}]`, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := strictjson.Parse([]byte(tt.doc), small)
			if tt.reason != "" {
				checkError(t, err, tt.offset, tt.reason)
			} else if err != nil {
				t.Errorf("Parse(%s): %v", tt.doc, err)
			}
		})
	}
}

func TestEveryLimitMustBePositive(t *testing.T) {
	t.Parallel()
	for _, l := range []strictjson.Limits{
		{},
		{Bytes: -1, Depth: 1, Values: 1, Members: 1},
		{Depth: 1, Values: 1, Members: 1},
		{Bytes: 9, Values: 1, Members: 1},
		{Bytes: 9, Depth: 1, Members: 1},
		{Bytes: 9, Depth: 1, Values: 1},
	} {
		_, err := strictjson.Parse([]byte(`{}`), l)
		checkError(t, err, 0, "limits are not all positive")
		_, err = strictjson.ParseObject([]byte(`{}`), l)
		checkError(t, err, 0, "limits are not all positive")
	}
}

// TestDeepNestingIsCheap shows that the limit stops the descent, not the stack.
func TestDeepNestingIsCheap(t *testing.T) {
	t.Parallel()
	doc := []byte(strings.Repeat("[", 1<<20))
	_, err := strictjson.Parse(doc, strictjson.Limits{Bytes: 1 << 21, Depth: 16, Values: 1 << 21, Members: 1})
	checkError(t, err, 16, "nested too deeply")
}

func TestParseObject(t *testing.T) {
	t.Parallel()
	got, err := strictjson.ParseObject([]byte(` {"a":null} `), roomy)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": nil}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for doc, offset := range map[string]int{`[]`: 0, `"{}"`: 0, ` null`: 1, ``: 0, `1`: 0} {
		object, err := strictjson.ParseObject([]byte(doc), roomy)
		checkError(t, err, offset, "not an object")
		if object != nil {
			t.Errorf("ParseObject(%s) gives %v beside the error", doc, object)
		}
	}
}

// TestErrorNamesNoContent matters because errors are logged and shown to strangers.
func TestErrorNamesNoContent(t *testing.T) {
	t.Parallel()
	_, err := strictjson.Parse([]byte(`{"s3cret":"s3cret","s3cret":1}`), roomy)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("error %v", err)
	}
	if want := "strict JSON: duplicate member at byte 19"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

// TestResultIsIndependentOfTheInput: callers reuse their read buffers.
func TestResultIsIndependentOfTheInput(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"name":"value"}`)
	got, err := strictjson.ParseObject(doc, roomy)
	if err != nil {
		t.Fatal(err)
	}
	clear(doc)
	if got["name"] != "value" {
		t.Errorf("value became %q after the buffer was reused", got["name"])
	}
}

func TestParseObjectAround(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		doc      string
		object   map[string]any
		elements []string
		err      string
	}{
		{doc: `{}`, object: map[string]any{}},
		{doc: `{"l":1}`, object: map[string]any{"l": json.Number("1")}},
		{doc: `{"l":{"l":[1]}}`, object: map[string]any{"l": map[string]any{"l": []any{json.Number("1")}}}},
		{doc: ` {"l" : [ ] } `, object: map[string]any{}, elements: []string{}},
		{doc: `{"a":[1],"l":[ 1 , {"l":[2,"]"]},[[],{}], "\"],[" ],"b":null}`, object: map[string]any{"a": []any{json.Number("1")}, "b": nil}, elements: []string{"1 ", `{"l":[2,"]"]}`, "[[],{}]", `"\"],[" `}},
		{doc: `{"\u006c":[1]}`, object: map[string]any{}, elements: []string{"1"}},
		{doc: "{\"l\":[\"\xff\",{\"a\":1,\"a\":2}]}", object: map[string]any{}, elements: []string{"\"\xff\"", `{"a":1,"a":2}`}},
		{doc: "{\"l\":[],\"\xff\":1}", err: "invalid UTF-8 at byte 9"},
		{doc: "{\"\xff\":1}", err: "invalid UTF-8 at byte 2"},
		{doc: `[]`, err: "not an object"},
		{doc: ``, err: "not an object"},
		{doc: `{`, err: "no member name"},
		{doc: `{"l"}`, err: "no colon"},
		{doc: `{"l":[]`, err: "no comma and no end"},
		{doc: `{"l":[`, err: "no comma and no end"},
		{doc: `{"l":[1`, err: "no comma and no end"},
		{doc: `{"l":[,]}`, err: "no value at byte 6"},
		{doc: `{"l":[1,]}`, err: "no value at byte 8"},
		{doc: `{"l":[(}]}`, err: "no comma and no end"},
		{doc: `{"l":["\`, err: "string does not end"},
		{doc: `{"l":[]}x`, err: "bytes after"},
		{doc: `{"l":[],"l":[]}`, err: "duplicate member at byte 8"},
		{doc: `{"a":1,"b":1,"c":1,"d":1}`, err: "too many members"},
		{doc: `{"a":[[[]]]}`, err: "nested too deeply"},
		{doc: "\ufeff{}", err: "byte order mark"},
		{doc: `{"l":[` + strings.Repeat("1,", 100) + `1]}`, err: "document is too long"},
	} {
		object, elements, err := strictjson.ParseObjectAround([]byte(tt.doc), "l", strictjson.Limits{Bytes: 99, Depth: 3, Values: 9, Members: 3})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || object != nil || elements != nil {
				t.Errorf("%q: %v, %q, %v, want %q", tt.doc, object, elements, err, tt.err)
			}
			continue
		}
		var texts []string
		if elements != nil {
			texts = []string{}
		}
		for _, e := range elements {
			texts = append(texts, string(e))
		}
		if err != nil || !cmp.Equal(tt.object, object) || !cmp.Equal(tt.elements, texts) {
			t.Errorf("%q: %v, %q, %v", tt.doc, object, texts, err)
		}
	}
}
