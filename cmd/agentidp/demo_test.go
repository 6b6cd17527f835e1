package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const storySteps = 15

var stepLine = regexp.MustCompile(`(?m)^ +\d+  .{64}(ok  |FAIL) +\d+\.\d\d s  .+$`)

// TestDemo is the story of the issue, told by the program that tells it to people.
func TestDemo(t *testing.T) {
	t.Parallel()
	status, out := agentidp(t, "demo")
	lines := stepLine.FindAllString(out, -1)
	if status != 0 || len(lines) != storySteps || strings.Contains(out, "FAIL") || !strings.Contains(out, fmt.Sprintf("%d of %[1]d steps held", storySteps)) {
		t.Errorf("status %d, %d steps:\n%s", status, len(lines), out)
	}
	gone(t, out)
	if _, err := os.Stat(demoDir(t, out)); !os.IsNotExist(err) {
		t.Errorf("it left its directory: %v", err)
	}
	t.Log(out)
}

func demoDir(t *testing.T, output string) string {
	t.Helper()
	m := regexp.MustCompile(`free ports, in (\S+)`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no directory named:\n%s", output)
	}
	return m[1]
}

// TestDemoNoticesFaults tells the story with a sidecar that never hears of suspensions: the demo must say so, and keep what helps to find out why.
func TestDemoNoticesFaults(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for _, name := range []string{"issuer"} {
		if err := os.Symlink(filepath.Join(programs(t), name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	deaf := fmt.Sprintf("#!/bin/sh\n/bin/sed '/revocations:/d' \"$2\" >\"$2.deaf\"\n/bin/mv \"$2.deaf\" \"$2\"\nexec %s \"$@\"\n", filepath.Join(programs(t), "extauthz"))
	if err := os.WriteFile(filepath.Join(bin, "extauthz"), []byte(deaf), 0o755); err != nil {
		t.Fatal(err)
	}
	status, out := agentidp(t, "demo", "-bin", bin)
	dir := demoDir(t, out)
	t.Cleanup(func() { os.RemoveAll(dir) })
	if status != 1 {
		t.Errorf("status %d", status)
	}
	failed := 0
	for _, line := range stepLine.FindAllString(out, -1) {
		if strings.Contains(line, "FAIL") {
			failed++
		}
		if (strings.Contains(line, "agent suspended") || strings.Contains(line, "credential deleted") || strings.Contains(line, "token given back")) && !strings.Contains(line, "FAIL") {
			t.Errorf("not noticed: %s", line)
		}
	}
	if failed == 0 || failed == storySteps {
		t.Errorf("%d steps failed:\n%s", failed, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "log/extauthz.log")); err != nil || !strings.Contains(out, "kept in "+dir) {
		t.Errorf("the logs were not kept: %v\n%s", err, out)
	}
	gone(t, out)
}
