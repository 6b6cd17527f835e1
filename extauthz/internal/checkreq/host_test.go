package checkreq

import (
	"strings"
	"testing"
)

// One name for each host, in whatever spelling; none for what two parsers could read as two.
func TestHostName(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"":                              "",
		"admin.example":                 "admin.example",
		"ADMIN.example":                 "admin.example",
		"admin.example.":                "admin.example",
		"Admin.Example.:443":            "admin.example",
		"admin.example:80":              "admin.example",
		"admin.example:8443":            "admin.example",
		"localhost:8080":                "localhost",
		"a_b-c~d.e":                     "a_b-c~d.e",
		"xn--d1acufc.example":           "xn--d1acufc.example",
		"1.example":                     "1.example",
		"example.1a":                    "example.1a",
		"10.0.0.1":                      "10.0.0.1",
		"10.0.0.1:80":                   "10.0.0.1",
		"10.0.0.1.":                     "10.0.0.1",
		"[::1]":                         "[::1]",
		"[0:0:0:0:0:0:0:1]:80":          "[::1]",
		"[FD00::A]":                     "[fd00::a]",
		"[fd00:0::0a]":                  "[fd00::a]",
		strings.Repeat("a.", 100) + "a": strings.Repeat("a.", 100) + "a",
	} {
		if got, ok := hostName(host); !ok || got != want {
			t.Errorf("%q is named %q, %v; want %q", host, got, ok, want)
		}
		if again, ok := hostName(want); !ok || again != want {
			t.Errorf("%q, which is a name, is named %q, %v", want, again, ok)
		}
	}
	for _, host := range []string{
		".", "..", ".a", "a..b", "a..", "a..:80", ":", ":80", "a:", "a:a", "a:99999", "a:000080", "a:-1", "a: 80", "a:80:80", "a:80.",
		"user@a", "user:pass@a", "a@", "a,b", "a b", " a", "a\tb", "a\x00", "a\x7f", "a\n", "a/b", "a?b", "a#b", "a%2eb", "a\\b", "a;b", "*", "s\xc3\xa9rvice", "a\xff",
		"127.1", "2130706433", "0x7f.0.0.1", "0x7f000001", "a.0x1", "010.0.0.1", "1.2.3.4.5", "256.1.1.1", "a.1", "a.1.", "0x",
		"[", "]", "[]", "[a]", "[::1", "::1", "::1]", "[::1]a", "[::1]:", "[::1]:a", "[::1%25eth0]", "[::1%eth0]", "[10.0.0.1]", "[v1.a]", "a[::1]", "[[::1]]",
		strings.Repeat("a", HostBytesMax+1),
	} {
		if got, ok := hostName(host); ok {
			t.Errorf("%q is named %q, want none", host, got)
		}
	}
}
