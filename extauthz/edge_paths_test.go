package extauthz_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

const edgePathsMin = 10000

// trapsOfPaths are the parts that one server reads differently from another, and ordinary ones for them to hide between.
var trapsOfPaths = []string{
	"/", "//", "/.", "/..", "/...", "/;a", "/..;", "/..;a=b", "/.;/", ";x=1", "/%2e", "/%2e%2e", "/%2E.", "/%2F", "%2F", "%2f", "%5C", "\\", "/%252e%252e", "%252F", "%c0%af", "%e0%80%af",
	"%00", "%0a", "%0d%0a", "%09", "%20", "%7f", "%3F", "%3f", "%23", "%3B", "%25", "#x", "?x", "?a=/../admin", "&", "=", "+", ":", "@", "!", "~", "'", "(", "*", ",", "$",
	"/admin", "/admin.", "/ADMIN", "/orders", "/public", "/a", "b", "-", "_", ".", "..", "\xff", "%ff", "%zz", "%", "%u002f", "\xc3\xa9", "%c3%a9", "%C3%A9", "%61", "\"", "<", "{a}", "|", "^", "`", "[", "\t", "\x7f",
}

// pathGrammar makes distinct targets: first what the attack list names, then random sentences of at most five parts, the same in each run.
func pathGrammar() []string {
	seen, targets := map[string]bool{}, []string(nil)
	add := func(target string) {
		if !seen[target] {
			seen[target] = true
			targets = append(targets, target)
		}
	}
	for _, target := range []string{
		"//admin", "/./admin", "/x/../admin", "/%2e%2e/admin", "/..;/admin", "/..;a=b/admin", "/admin;x=1", "/admin%2Fsecret", "/admin%5Csecret", "/ADMIN", "/admin.", "/admin/", "/admin%00",
		"/admin?x", "/admin%3Fx", "/admin#x", "/%252e%252e/admin", "http://HOST/admin", "http://HOST//admin", "https://HOST/public/../admin", "http://HOST",
		"http://HOST?x", "http://user@HOST/admin", "ftp://HOST/admin", "admin", "", "*", "?x", "///", "/", "/.", "/..",
	} {
		add(target)
	}
	for _, a := range trapsOfPaths {
		for _, b := range trapsOfPaths {
			add("/orders" + a + b)
		}
	}
	random := rand.New(rand.NewPCG(1, 9901)) //nolint:gosec // the same sentences in each run
	for len(targets) < edgePathsMin {
		var target strings.Builder
		target.WriteString([]string{"", "/", "/orders", "/a/b", "/public/x"}[random.IntN(5)])
		for range 1 + random.IntN(5) {
			target.WriteString(trapsOfPaths[random.IntN(len(trapsOfPaths))])
		}
		if text := target.String(); strings.HasPrefix(text, "/") {
			add(text)
		} else {
			add("/" + text)
		}
	}
	return targets
}

// For each of ten thousand targets: it is refused, or it arrives, at whatever kind of server stands there, as what the policy was shown, byte
// for byte, and that server reads the same path in it.
func TestEdgePathsHaveOneMeaning(t *testing.T) {
	t.Parallel()
	e, parsers := startParsers(t)
	bearer := e.bearer(t)
	e.await(t, http.StatusOK, "/warm", bearer)
	requests := func(host string, targets []string) []string {
		var out []string
		for _, target := range targets {
			out = append(out, strings.ReplaceAll(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: HOST\r\n%s\r\n\r\n", target, bearer), "HOST", host+".example"))
		}
		return out
	}
	targets := pathGrammar()
	for _, p := range parsers {
		var reached []string
		for i, a := range rawhttp.Pipeline(t, e.address, requests(p.name, targets)) {
			if a.Status != http.StatusOK && !statusIn(a.Status, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound) { // 404: Envoy has no route
				t.Errorf("%s: %q: status %d", p.name, targets[i], a.Status)
			}
			if a.Status != http.StatusOK {
				continue
			}
			reached = append(reached, targets[i])
			r := p.read(a)
			if wrong := cmp.Or(r.disagreement(), trapIn(r.SawTarget)); wrong != "" {
				t.Errorf("%s: %q: the service %s", p.name, targets[i], wrong)
			}
		}
		t.Logf("%s: %d of %d targets reached it", p.name, len(reached), len(targets))
		if len(reached) < edgePathsMin/20 {
			t.Errorf("%s: only %d targets got through: the test proves little", p.name, len(reached))
		}
		if p.name == "go" { // refused there, refused everywhere: the host plays no part in it
			targets = slices.Clip(reached)
		}
	}
}

// trapIn says which further kind of server, of those not started here, would read another path.
func trapIn(target string) string {
	raw, _, _ := strings.Cut(target, "?")
	once, err := url.PathUnescape(raw)
	if err != nil {
		return "would decode nothing: " + err.Error()
	}
	twice, err := url.PathUnescape(once)
	switch {
	case err == nil && twice != once:
		return "that decodes twice would read " + twice
	case strings.Contains(once, ";"):
		return "that drops path parameters (servlets) would read another path"
	case strings.Contains(once, "\\"):
		return "that takes backslashes for slashes would read another path"
	case strings.TrimSuffix(path.Clean(once), "/") != strings.TrimSuffix(once, "/"):
		return "that cleans paths would read " + path.Clean(once)
	case strings.IndexFunc(once, unicode.IsControl) >= 0:
		return "that stops at control characters would read another path"
	}
	return ""
}
