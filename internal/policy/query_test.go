package policy

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPathOf(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"data.envoy.authz.allow":           "envoy/authz/allow",
		" data.envoy.authz.allow # plain ": "envoy/authz/allow",
		`data.envoy["my-authz"].allow`:     "envoy/my-authz/allow",
		"data":                             "",
		"":                                 "",
		"input.allow":                      "",
		"data.envoy.authz.allow == true":   "",
		"x := data.envoy.authz.allow":      "",
		"not data.envoy.authz.allow":       "",
		"data.a; data.b":                   "",
		"data.envoy[x].allow":              "",
		"data.envoy[_]":                    "",
		"data.envoy[1]":                    "",
		"data.a with input as {}":          "",
		"data.f(1)":                        "",
		`data["a/b"]`:                      "",
		`data[""]`:                         "",
		"count(data.a)":                    "",
		"data.a.b[":                        "",
		"allow":                            "",
		"true":                             "",
	} {
		got, err := PathOf(query)
		if got != want || (want == "") != errors.Is(err, ErrQuery) {
			t.Errorf("%q: %q, %v; want %q", query, got, err, want)
		}
	}
}

// oldSyntax is Rego of version 0: no if, no contains, functions that version 1 dropped.
const oldSyntax = `package p
default allow = false
allow { admitted[_] == "a"; any([false, re_match("^/a", input.path)]) }
admitted[name] { name := "a" }
`

func TestRegoVersions(t *testing.T) {
	t.Parallel()
	const newSyntax = "package p\nimport rego.v1\nallow if input.path == \"/a\"\n"
	const keywords = "package p\nimport future.keywords\nallow if \"/a\" in [input.path]\n"
	for name, c := range map[string]struct {
		source string
		v0     bool
		loads  bool
	}{
		"old as 0":              {oldSyntax, true, true},
		"old as 1":              {oldSyntax, false, false},
		"new as 0":              {newSyntax, true, true},
		"new as 1":              {newSyntax, false, true},
		"keywords as 0":         {keywords, true, true},
		"no network as 0":       {"package p\nallow { http.send({}) }\n", true, false},
		"tokens as 0":           {"package p\nallow { io.jwt.decode(\"\") }\n", true, false},
		"dropped function as 1": {"package p\nallow if re_match(\"a\", \"a\")\n", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := Compile(context.Background(), []Source{{Name: "p.rego", Data: []byte(c.source)}}, Config{Path: "p/allow", RegoV0: c.v0, EvalTimeout: 2 * time.Second})
			if (err == nil) != c.loads {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			defer p.Close()
			if got, err := p.Eval(context.Background(), Object(Member{"path", String("/a")})); err != nil || got != any(true) {
				t.Errorf("%v, %v", got, err)
			}
			if p.ReadSet().String() != "input.path" {
				t.Errorf("reads %v", p.ReadSet())
			}
		})
	}
}
