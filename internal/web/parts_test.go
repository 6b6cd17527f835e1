package web

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestIfMatch(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int64{`"1"`: 1, `"9223372036854775807"`: 9223372036854775807, `*`: 0} {
		r := httptest.NewRequest("PATCH", "/", nil)
		r.Header.Set("If-Match", header)
		if got, err := IfMatch(r); err != nil || got != want {
			t.Errorf("%s: %d, %v", header, got, err)
		}
	}
	r := httptest.NewRequest("PATCH", "/", nil)
	if got, err := IfMatch(r); err != nil || got != 0 {
		t.Errorf("absent: %d, %v", got, err)
	}
	r.Header["If-Match"] = []string{`"1"`, `"2"`}
	if _, err := IfMatch(r); err == nil {
		t.Error("two headers are accepted")
	}
}

func TestPagesAreBoundToTheirQueryAndKey(t *testing.T) {
	t.Parallel()
	mine, err := NewPages([]byte("a secret of the instance"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := NewPages([]byte("another secret"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(p *Pages, target string) (*Page, error) {
		r := httptest.NewRequest("GET", target, nil)
		q, err := ParseQuery(r, "a", "b", "pageSize", "pageToken")
		if err != nil {
			t.Fatal(err)
		}
		return p.Read(r, q)
	}
	first, err := read(mine, "/list?a=1&b=2&pageSize=2")
	if err != nil || first.Size != 2 || first.After != "" || first.Limit() != 3 {
		t.Fatalf("%+v, %v", first, err)
	}
	id := func(s string) string { return s }
	if all, next := Cut(first, []string{"x", "y"}, id); len(all) != 2 || next != nil {
		t.Errorf("a last page goes on: %v %v", all, next)
	}
	shown, next := Cut(first, []string{"x", "y", "z"}, id)
	if len(shown) != 2 || next == nil {
		t.Fatalf("%v %v", shown, next)
	}
	token := "&pageToken=" + url.QueryEscape(*next)
	for target, ok := range map[string]bool{
		"/list?a=1&b=2" + token: true, "/list?b=2&a=1&pageSize=7" + token: true,
		"/list?a=1&b=3" + token: false, "/list?a=1" + token: false, "/other?a=1&b=2" + token: false,
	} {
		page, err := read(mine, target)
		if (err == nil) != ok || ok && page.After != "y" {
			t.Errorf("%s: %+v, %v", target, page, err)
		}
	}
	if _, err := read(theirs, "/list?a=1&b=2"+token); err == nil {
		t.Error("opened with another key")
	}
	if again, _ := Cut(first, []string{"x", "y", "z"}, id); again == nil || strings.Contains(*next, "y") && len(*next) < 30 {
		t.Error("the token is not sealed")
	}
}

func FuzzPageToken(f *testing.F) {
	pages, err := NewPages([]byte("a secret of the instance"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest("GET", "/list?pageToken="+url.QueryEscape(token), nil)
		q, err := ParseQuery(r, "pageToken")
		if err != nil {
			return
		}
		if p, err := pages.Read(r, q); err == nil {
			t.Errorf("made-up token %q gives %+v", token, p)
		}
	})
}

func TestQueryTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2026-11-23T09:00:00Z": time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), "2026-11-23T10:00:00.5%2B01:00": time.Date(2026, 11, 23, 9, 0, 0, 5e8, time.UTC),
		"": {}, "2026-11-23": {}, "1795424760": {},
	} {
		q, err := ParseQuery(httptest.NewRequest("GET", "/?t="+text, nil), "t")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := q.Time("t"); (err == nil) != !want.IsZero() || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

func TestSourceIsThePeer(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{"192.0.2.1:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "@": "@"} {
		if got := withoutPort(remote); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
