package plainjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func standard(t interface{ Fatal(...any) }, s string, escapeHTML bool) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// Every byte alone, every byte between others, and every string rapid thinks of.
func TestWritesAsEncodingJSON(t *testing.T) {
	t.Parallel()
	for b := range 256 {
		for _, s := range []string{string([]byte{byte(b)}), "a" + string([]byte{byte(b)}) + "b", string(rune(b)), "é" + string(rune(0x2020+b))} {
			for _, html := range []bool{true, false} {
				if got, want := string(AppendString([]byte("x"), s, html)), "x"+standard(t, s, html); got != want {
					t.Errorf("%q: %s, want %s", s, got, want)
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		html := rapid.Bool().Draw(t, "html")
		if got, want := string(AppendString(nil, s, html)), standard(t, s, html); got != want {
			t.Fatalf("%q: %s, want %s", s, got, want)
		}
	})
}
