package settings

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigOfLogs(t *testing.T) {
	t.Setenv("LOG_TOKEN", "tok")
	t.Setenv("BAD_TOKEN", "a b")
	dir := configDir(t)
	cfg, err := loadConfig(t, dir, minimal+`decisionLog:
  http: {url: "https://logs.example/logs", ca: ca.pem, token: {env: LOG_TOKEN}, wait: 5s}
  sampleAllowed: 0.01
  mask: [/input/attributes/request/http/headers/x-user]
  labels: {pod: p1}
`)
	if err != nil {
		t.Fatal(err)
	}
	if d := cfg.DecisionLog; d.SampleAllowed != 0.01 || len(d.Mask) != 1 || d.HTTP.Token.Reveal() != "tok" || d.HTTP.Wait.Seconds() != 5 {
		t.Errorf("got %+v", d)
	}
	cfg, err = loadConfig(t, dir, minimal+"decisionLog: {stdout: true}\n")
	if err != nil || cfg.DecisionLog.SampleAllowed != 1 {
		t.Errorf("%v: %+v", err, cfg.DecisionLog)
	}
	for text, want := range map[string][]string{
		"decisionLog: {}": {"decisionLog: want exactly one of file, http and stdout: true"},
		"decisionLog: {stdout: true, file: a, http: {url: \"https://a/logs\"}}": {"decisionLog: want exactly one of file, http and stdout: true"},
		"decisionLog: {stdout: true, sampleAllowed: 1.5}":                       {"decisionLog.sampleAllowed: want a number from 0 (no allowed decision is logged) to 1 (all are)"},
		"decisionLog: {stdout: true, sampleAllowed: .nan}":                      {"decisionLog.sampleAllowed: want a number from 0 (no allowed decision is logged) to 1 (all are)"},
		"decisionLog: {stdout: true, mask: [/input/a, /labels, a]}": {
			"decisionLog.mask[1]: want a JSON pointer that begins with /input or /result", "decisionLog.mask[2]: want a JSON pointer that begins with /input or /result",
		},
		"decisionLog: {http: {wait: 2m, token: {env: BAD_TOKEN}}}": {
			"decisionLog.http.url: is required", "decisionLog.http.wait: want more than 0 and at most 1m0s", "decisionLog.http.token: want visible ASCII without spaces",
		},
		"decisionLog: {http: {url: \"http://logs.example/logs\"}}": {"decisionLog.http.url: http:// is accepted for loopback hosts only"},
	} {
		wantMistakes(t, dir, text, want)
	}
}

// wantMistakes loads the minimal config with one line more.
func wantMistakes(t *testing.T, dir, line string, want []string) {
	t.Helper()
	_, err := loadConfig(t, dir, minimal+line+"\n")
	if err == nil {
		t.Errorf("%s: accepted", line)
		return
	}
	var got []string
	for _, finding := range strings.Split(err.Error(), "\n") {
		_, finding, _ = strings.Cut(finding, ": ") // file and line
		got = append(got, finding)
	}
	if d := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); d != "" {
		t.Errorf("%s: %s", line, d)
	}
}
