package checkreq

import (
	"net/url"
	pathpkg "path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// The attack list E1 and the advisories behind it. Each of these was once a way round somebody's path rule.
func TestAmbiguousPaths(t *testing.T) {
	t.Parallel()
	for path, why := range map[string]string{
		"//admin":                     "CVE-2026-26205, CVE-2025-25208: an authority or an empty segment",
		"/a//admin":                   "merged slashes",
		"/admin//":                    "merged slashes at the end",
		"/./admin":                    "CVE-2019-9901",
		"/x/../admin":                 "CVE-2019-9901",
		"/x/..":                       "dot segment at the end",
		"/.":                          "dot segment alone",
		"/%2e%2e/admin":               "escaped dot segment",
		"/%2E%2E/admin":               "escaped dot segment, upper case",
		"/.%2e/admin":                 "half-escaped dot segment",
		"/..;/admin":                  "CVE-2026-73511: path parameter on a dot segment",
		"/..;a=b/admin":               "CVE-2026-73511",
		"/admin;x=1":                  "path parameter",
		"/admin%3Bx=1":                "escaped path parameter",
		"/admin%2Fsecret":             "CVE-2021-29492",
		"/admin%2fsecret":             "CVE-2021-29492",
		"/admin%5Csecret":             "CVE-2021-29492",
		"/admin\\secret":              "backslash",
		"/admin%00":                   "NUL",
		"/admin%0a":                   "line feed",
		"/admin%0D%0Ax":               "carriage return",
		"/admin%7f":                   "delete",
		"/admin#x":                    "CVE-2021-32779",
		"/%61dmin":                    "escaped unreserved character",
		"/admin%2D":                   "escaped unreserved character",
		"/%252e%252e/admin":           "double escape",
		"/admin%252Fsecret":           "double escape",
		"/admin%":                     "incomplete escape",
		"/admin%2":                    "incomplete escape",
		"/admin%zz":                   "no escape",
		"/admin%u002f":                "no escape",
		"/admin%ff":                   "no UTF-8",
		"/%c0%ae%c0%ae/":              "overlong dots",
		"/%c0%af":                     "overlong slash",
		"/%ed%a0%80":                  "surrogate",
		"/ad min":                     "space",
		"/admin\t":                    "tab",
		"/admin\x00":                  "NUL",
		"/admin\r\nx: y":              "line break",
		"/ädmin":                      "non-ASCII",
		"/a/" + "../" + "admin":       "dot segment",
		"/admin/%2e":                  "escaped dot at the end",
		"/%2F%2Fevil.example":         "escaped authority",
		"/a/%2e%2e%2fadmin":           "escaped all",
		"/a/..%2fadmin":               "escaped slash after dots",
		"/a/..%5cadmin":               "escaped backslash after dots",
		"/" + "%25" + "2e" + "/admin": "double escape in parts",
	} {
		t.Run(why+" "+path, func(t *testing.T) {
			t.Parallel()
			if r, refusal := parse(t, get(target(path))); refusal == nil || refusal.Reason != ReasonPath {
				t.Errorf("got %+v, %v", r, refusal)
			}
		})
	}
}

func TestPathsThatAreKept(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]string{
		"/":                   {""},
		"/a":                  {"a"},
		"/a/":                 {"a", ""},
		"/ADMIN":              {"ADMIN"},
		"/admin.":             {"admin."},
		"/a/.../b":            {"a", "...", "b"},
		"/.well-known/x":      {".well-known", "x"},
		"/a%20b/c":            {"a b", "c"},
		"/caf%C3%A9":          {"café"},
		"/100%25":             {"100%"},
		"/a%3Fb%23c":          {"a?b#c"},
		"/Svc.Name/Method":    {"Svc.Name", "Method"},
		"/a:b@c,d=e+f!$&'()*": {"a:b@c,d=e+f!$&'()*"},
	} {
		r, refusal := parse(t, get(target(path+"?q")))
		if refusal != nil {
			t.Errorf("%s: %v", path, refusal)
			continue
		}
		if d := cmp.Diff(want, r.Segments); d != "" || r.Path != path || r.Target != path+"?q" {
			t.Errorf("%s: %+v %s", path, r, d)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]map[string][]string{
		"":                     {},
		"a=1&a=2&b":            {"a": {"1", "2"}, "b": {""}},
		"a=x%20y+z&%61=3":      {"a": {"x y z", "3"}},
		"&&a=&":                {"a": {""}},
		"r=http://x/..%2f?y=1": {"r": {"http://x/../?y=1"}},
		"a=%0a":                {"a": {"\n"}},
	} {
		r, refusal := parse(t, get(target("/p?"+query)))
		if refusal != nil {
			t.Errorf("%s: %v", query, refusal)
			continue
		}
		if d := cmp.Diff(want, r.Parameters()); d != "" || r.Query != query {
			t.Errorf("%s: %s", query, d)
		}
	}
	for _, query := range []string{"a=%", "a=%2", "a=%zz", "a=%ff", "a=%00", "%00", "a=1;b=2", "a=#", "a=\\", "a= b", "a=ä", "a=\n"} {
		if r, refusal := parse(t, get(target("/p?"+query))); refusal == nil || refusal.Reason != ReasonQuery {
			t.Errorf("%q: %+v, %v", query, r, refusal)
		}
	}
	if r, refusal := parse(t, get(target("/p"))); refusal != nil || r.Parameters() != nil {
		t.Errorf("no query: %+v, %v", r, refusal)
	}
}

// What is accepted reads the same to Go's URL parser, to a path cleaner, and to somebody who decodes once more.
func agreed(t interface{ Fatalf(string, ...any) }, r *Request) {
	u, err := url.ParseRequestURI(r.Target)
	if err != nil {
		t.Fatalf("%q: net/url: %v", r.Target, err)
	}
	ours := "/" + strings.Join(r.Segments, "/")
	if u.Path != ours || u.Host != "" {
		t.Fatalf("%q: net/url reads %q, the policy reads %q", r.Target, u.Path, ours)
	}
	if cleaned := pathpkg.Clean(ours); cleaned != ours && cleaned+"/" != ours {
		t.Fatalf("%q: a cleaner makes it %q", r.Target, cleaned)
	}
	if again, err := url.PathUnescape(ours); err == nil && again != ours {
		t.Fatalf("%q: decodes again to %q", r.Target, again)
	}
	if strings.Count(r.Path, "/") != len(r.Segments) {
		t.Fatalf("%q: %d segments", r.Target, len(r.Segments))
	}
}

func TestAcceptedPathsReadTheSameEverywhere(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{
		"/", "//", ".", "..", ";", ";a=b", "%2f", "%2F", "%5c", "%2e", "%00", "%25", "%252e", "%20", "%3f", "%c3%a9", "%ff", "%", "2e",
		"admin", "ADMIN", "a", "_", "~", "\\", "#", "?x=1", "*", ":", "@", "http:", " ", "\x00", "é",
	})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		path := "/" + strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), "")
		wire, err := proto.Marshal(get(target(path)))
		if err != nil {
			return // not UTF-8: nobody can send it
		}
		if r, refusal := Parse(wire); refusal == nil {
			accepted++
			agreed(t, r)
		}
	})
	if accepted == 0 {
		t.Error("no generated path was accepted: the test proves nothing")
	}
}
