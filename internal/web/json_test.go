package web_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
)

type inner struct {
	On bool `json:"on"`
}

type body struct {
	Name  string        `json:"name"`
	Count int64         `json:"count,omitempty"`
	Agent agentid.Agent `json:"agent,omitempty"`
	List  []string      `json:"list,omitempty"`
	Maybe *[]inner      `json:"maybe,omitempty"`
}

// call posts to an operation that answers with what it read.
func call(t *testing.T, text string, header ...string) (*body, *httptest.ResponseRecorder) {
	t.Helper()
	var got *body
	f := newFixture(t, web.Config{Routes: []web.Route{{Method: "POST", Path: "/x", Handler: web.JSON(func(_ *http.Request, in body) (web.Reply[body], error) {
		got = &in
		return web.Reply[body]{Body: in}, nil
	})}}})
	r := httptest.NewRequest("POST", "/x", strings.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	for n := 0; n+1 < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return got, w
}

func TestJSONReadsWhatTheTypeSays(t *testing.T) {
	t.Parallel()
	agent, err := agentid.Parse[agentid.Agent]("agt_0199f6c3d5e67f108a2b3c4d5e6f7081")
	if err != nil {
		t.Fatal(err)
	}
	got, w := call(t, ` {"name":"\u00e9","count":-9223372036854775808,"agent":"agt_0199f6c3d5e67f108a2b3c4d5e6f7081","list":[],"maybe":[{"on":true},{"on":false}]} `,
		"Content-Type", `Application/JSON; Charset="UTF-8"`)
	want := &body{Name: "é", Count: -9223372036854775808, Agent: agent, List: []string{}, Maybe: &[]inner{{true}, {false}}}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b agentid.Agent) bool { return a == b })); d != "" || w.Code != 200 {
		t.Errorf("%d (-want +got):\n%s", w.Code, d)
	}
}

func TestJSONRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]problem.Document{
		`{"name":"a","Name":"a"}`:                          {Code: "unknown_field", Field: "/Name"},
		`{"NAME":"a"}`:                                     {Code: "missing_field", Field: "/name"},
		`{"name":"a","name":"b"}`:                          {Code: "duplicate_member"},
		`{"name":"a","maybe":[{"on":true},{}]}`:            {Code: "missing_field", Field: "/maybe/1/on"},
		`{"name":"a","maybe":[{"on":1}]}`:                  {Code: "wrong_type", Field: "/maybe/0/on"},
		`{"name":"a","maybe":[{"on":true,"x":1}]}`:         {Code: "unknown_field", Field: "/maybe/0/x"},
		`{"name":"a","maybe":{}}`:                          {Code: "wrong_type", Field: "/maybe"},
		`{"name":"a","maybe":[[]]}`:                        {Code: "wrong_type", Field: "/maybe/0"},
		`{"name":"a","count":9223372036854775808}`:         {Code: "wrong_type", Field: "/count"},
		`{"name":"a","count":"1"}`:                         {Code: "wrong_type", Field: "/count"},
		`{"name":"a","agent":"agt_X"}`:                     {Code: "invalid_id", Field: "/agent"},
		`{"name":"a","agent":1}`:                           {Code: "wrong_type", Field: "/agent"},
		`{"name":"a","x":1,"y":2}`:                         {Code: "unknown_field", Field: "/y"},
		`{"name":"a","` + strings.Repeat("n", 65):          {Code: "malformed_json"},
		`{"name":"a","nul\u0000":1}`:                       {Code: "unknown_field"},
		`{"name":"a","` + strings.Repeat("n", 65) + `":1}`: {Code: "unknown_field"},
		`{"name":"a"} x`:                                   {Code: "malformed_json"},
		` `:                                                {Code: "malformed_json"},
	} {
		got, w := call(t, text)
		var doc problem.Document
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if got != nil || w.Code != 400 || doc.Code != want.Code || doc.Field != want.Field {
			t.Errorf("%s: %d %s %q, want %s %q", text, w.Code, doc.Code, doc.Field, want.Code, want.Field)
		}
	}
}

// brokenBody ends before it should.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestBodiesThatCannotBeReceived(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{Routes: []web.Route{{Method: "POST", Path: "/x", Handler: web.JSON(func(*http.Request, body) (reply web.Reply[web.None], err error) { return })}}})
	for text, want := range map[string]string{`{"name":"a"}`: "unreadable_body", strings.Repeat(" ", web.BodyBytesMax+1): "too_large"} {
		r := httptest.NewRequest("POST", "/x", brokenBody{strings.NewReader(text)})
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), `"code":"`+want+`"`) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, want)
		}
	}
}

func TestJSONMediaTypes(t *testing.T) {
	t.Parallel()
	for media, want := range map[string]int{
		"application/json": 200, "application/json;charset=utf-8": 200, "text/json": 415, "application/json; charset=utf-8; x=y": 415,
		"application/merge-patch+json": 415, "application/json;": 200, "application/json; charset": 415, "": 415,
	} {
		if _, w := call(t, `{"name":"a"}`, "Content-Type", media); w.Code != want {
			t.Errorf("%q: %d, want %d", media, w.Code, want)
		}
	}
}

// A request type that could not be read is a mistake seen when the program starts.
func TestJSONRefusesTypesItCannotRead(t *testing.T) {
	t.Parallel()
	for name, adapt := range map[string]func(){
		"a float": func() {
			web.JSON(func(*http.Request, struct {
				F float64 `json:"f"`
			},
			) (r web.Reply[web.None], err error) {
				return
			})
		},
		"a map": func() { web.JSON(func(*http.Request, map[string]string) (r web.Reply[web.None], err error) { return }) },
		"no JSON name": func() {
			web.JSON(func(*http.Request, struct{ F string }) (r web.Reply[web.None], err error) { return })
		},
		"a nested float": func() { web.JSON(func(*http.Request, []*float64) (r web.Reply[web.None], err error) { return }) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			adapt()
		}()
	}
}

func TestRepliesThatCannotBeEncodedAreInternal(t *testing.T) {
	t.Parallel()
	f := newFixture(t, web.Config{Routes: []web.Route{route("/x", web.JSON(func(*http.Request, web.None) (web.Reply[func()], error) {
		return web.Reply[func()]{Status: 201, Body: func() {}}, nil
	}))}})
	if w := f.get("/x"); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What is accepted is what encoding/json would make of it, and accepted twice the same.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"name":"a"}`, `{"name":"a","count":1,"list":["x"],"maybe":[{"on":true}]}`, `{"name":"\ud83d\ude00"}`, `{"name":1}`, `[]`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, w := call(t, text)
		if got == nil {
			if w.Code != 400 && w.Code != 413 {
				t.Errorf("refused with %d", w.Code)
			}
			return
		}
		var want body
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("encoding/json refuses what we accepted: %v", err)
		}
		if d := cmp.Diff(&want, got, cmp.Comparer(func(a, b agentid.Agent) bool { return a == b })); d != "" {
			t.Errorf("read differently (-encoding/json +ours):\n%s", d)
		}
	})
}
