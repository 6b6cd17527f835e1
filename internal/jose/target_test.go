package jose

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// RFC 9449 s4.3, check 9, with RFC 3986 s6.2.2 and s6.2.3.
func TestTargets(t *testing.T) {
	t.Parallel()
	for uri, spellings := range map[string]map[string]bool{
		"https://shop.example/orders/%C3%A9/a": {
			"https://shop.example/orders/%C3%A9/a":              true,
			"HTTPS://SHOP.Example/orders/%C3%A9/a":              true,
			"https://shop.example:443/orders/%C3%A9/a":          true,
			"https://shop.example:/orders/%C3%A9/a":             true,
			"https://shop.example/orders/%c3%a9/a":              true,
			"https://shop.example/orders/%C3%A9/%61":            true,
			"https://shop.example/%6F%72ders/%C3%A9/a":          true,
			"https://shop.example/./orders/x/../%C3%A9/a":       true,
			"https://shop.example/orders/%2e/%C3%A9/b/%2E%2e/a": true,
			"https://shop.example/../orders/%C3%A9/a":           true,
			"https://shop.example/orders/%C3%A9/a?x=1":          true,
			"https://shop.example/orders/%C3%A9/a?":             true,
			"https://shop.example/orders/%C3%A9/a#x":            true,
			"https://shop.example/orders/%C3%A9/a?b#c/../?d":    true,

			"http://shop.example/orders/%C3%A9/a":                   false,
			"https://shop.example:80/orders/%C3%A9/a":               false,
			"https://shop.example:0443/orders/%C3%A9/a":             false,
			"https://shop.example:443:443/orders/%C3%A9/a":          false,
			"https://shop.example:+443/orders/%C3%A9/a":             false,
			"https://shop.example/Orders/%C3%A9/a":                  false,
			"https://shop.example/orders/%C3%A9/a/":                 false,
			"https://shop.example//orders/%C3%A9/a":                 false,
			"https://shop.example/orders//../%C3%A9/a/.":            false,
			"https://shop.example/orders%2F%C3%A9/a":                false,
			"https://shop.example/orders/%C3%A9/%2561":              false,
			"https://shop.example/orders/%C3%A9/a%":                 false,
			"https://shop.example/orders/%C3%A9/%6":                 false,
			"https://shop.example/orders/%C3%A9/%6g":                false,
			"https://shop.example/orders\\%C3%A9/a":                 false,
			"https://evil.example/orders/%C3%A9/a":                  false,
			"https://shop.example.evil/orders/%C3%A9/a":             false,
			"https://shop.example./orders/%C3%A9/a":                 false,
			"https://shop.exampl%65/orders/%C3%A9/a":                false,
			"https://a@shop.example/orders/%C3%A9/a":                false,
			"https://a:b@shop.example/orders/%C3%A9/a":              false,
			"https://@shop.example/orders/%C3%A9/a":                 false,
			"https://shop.example:443@evil.example/orders/%C3%A9/a": false,
			"https://shop.example#@evil.example/orders/%C3%A9/a":    false,
			"https://shop.example?/orders/%C3%A9/a":                 false,
			"https://shop.example\\@evil.example/orders/%C3%A9/a":   false,
			"https://shop.example":                                  false,
			"//shop.example/orders/%C3%A9/a":                        false,
			"/orders/%C3%A9/a":                                      false,
			"https:shop.example/orders/%C3%A9/a":                    false,
			"https:/shop.example/orders/%C3%A9/a":                   false,
			"https:///orders/%C3%A9/a":                              false,
			" https://shop.example/orders/%C3%A9/a":                 false,
			"ftp://shop.example/orders/%C3%A9/a":                    false,
			"":                                                      false,
		},
		"http://a:80/": {"http://a": true, "http://a/": true, "HTTP://A?x": true, "http://a/.": true, "http://a/..": true, "http://a#": true, "http://a:443/": false, "https://a/": false, "http://a//": false, "http://": false},
		"https://[2001:DB8::1]:8443/b/": {
			"https://[2001:db8::1]:8443/b/": true, "https://[2001:db8::1]:8443/b/c/..": true, "https://[2001:db8::1]:8443/b": false, "https://[2001:db8::1]/b/": false, "https://[2001:db8::1]8443/b/": false,
			"https://2001:db8::1:8443/b/": false, "https://[2001:db8::1:8443/b/": false, "https://[2001:db8::1%25a]:8443/b/": false, "https://[]:8443/b/": false,
		},
		"https://a@b/":     {"https://a@b/": false, "https://b/": false},
		"shop.example/":    {"shop.example/": false},
		"://shop.example/": {"://shop.example/": false},
		"":                 {"": false},
	} {
		for htu, want := range spellings {
			if got := (&Proof{URI: htu}).Targets(uri); got != want {
				t.Errorf("%s and %q: %v, want %v", uri, htu, got, want)
			}
		}
	}
}

// Two URIs that are taken for the same lead to the same place by net/url too.
func TestTargetsAgreeWithNetURL(t *testing.T) {
	t.Parallel()
	pieces := []string{"a", "A", "b", "/", "/./", "/x/../", "/..", "%2e", "%61", "%2f", "%2F", "%c3%A9", "%C3%a9", "%", ":", "@", "?", "#", "[", "]", ":443", ":80", "\\", "~", "%25"}
	where := func(t *rapid.T, s string) string {
		s, _, _ = strings.Cut(s, "#")
		s, _, _ = strings.Cut(s, "?")
		u, err := url.Parse(s)
		if err != nil || u.User != nil || u.Opaque != "" {
			t.Fatalf("%q counts, and is none: %v", s, err)
		}
		port := u.Port()
		if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
			port = ""
		}
		raw := strings.NewReplacer("%2e", ".", "%2E", ".").Replace(u.EscapedPath()) // an escaped dot is a dot; an escaped slash ends no segment
		path, err := url.PathUnescape(raw)
		if err != nil {
			t.Fatal(err)
		}
		u = u.ResolveReference(&url.URL{Path: path, RawPath: raw}) // takes the dot segments out
		return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port + "/" + strings.TrimPrefix(u.Path, "/")
	}
	same := 0
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 6).Draw(t, "parts")
		scheme := rapid.SampledFrom([]string{"https://a", "http://a", "HTTPS://A", "https:"}).Draw(t, "scheme")
		one := scheme + strings.Join(parts, "")
		parts[rapid.IntRange(0, len(parts)-1).Draw(t, "which")] += rapid.SampledFrom(append(pieces, "")).Draw(t, "inserted")
		two := scheme + strings.Join(parts, "")
		if !(&Proof{URI: one}).Targets(two) {
			return
		}
		same++
		if a, b := where(t, one), where(t, two); a != b {
			t.Fatalf("%q and %q are the same, but lead to %s and %s", one, two, a, b)
		}
	})
	if same == 0 {
		t.Error("no two were the same")
	}
}
