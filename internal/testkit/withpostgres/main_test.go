package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func withpostgres(t *testing.T, signals <-chan os.Signal, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	status = run(t.Context(), args, []string{"PATH=" + os.Getenv("PATH"), "KEPT=kept"}, strings.NewReader(""), &out, &errs, signals)
	return status, out.String(), errs.String()
}

func TestCommandSeesServerAndItsStatusIsOurs(t *testing.T) {
	t.Parallel()
	status, out, errs := withpostgres(t, nil, "--", "sh", "-c", `echo "$KEPT $AGENTIDP_TEST_POSTGRES"; exit 3`)
	if status != 3 || !strings.HasPrefix(out, "kept postgres:///postgres?host=") {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	_, rest, _ := strings.Cut(errs, "pid ")
	pid, _, _ := strings.Cut(rest, ",")
	if _, err := os.Stat("/proc/" + pid + "/exe"); pid == "" || err == nil {
		t.Errorf("the server (pid %q) still runs", pid)
	}
}

func TestUnusableCommands(t *testing.T) {
	t.Parallel()
	if status, _, errs := withpostgres(t, nil); status != 2 || !strings.Contains(errs, "usage") {
		t.Errorf("no command: %d %s", status, errs)
	}
	if status, _, errs := withpostgres(t, nil, "/nonexistent/command"); status != 127 || !strings.Contains(errs, "/nonexistent/command") {
		t.Errorf("missing command: %d %s", status, errs)
	}
	if status, _, errs := withpostgres(t, nil, "sh", "-c", "kill -KILL $$"); status != 128+9 {
		t.Errorf("killed command: %d %s", status, errs)
	}
}

func TestTerminationIsPassedOn(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	begin := time.Now()
	status, _, errs := withpostgres(t, signals, "sleep", "600")
	if status != 128+int(syscall.SIGTERM) || time.Since(begin) > time.Minute {
		t.Errorf("status %d after %s\n%s", status, time.Since(begin), errs)
	}
}
