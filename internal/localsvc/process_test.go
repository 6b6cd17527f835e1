package localsvc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
)

const patience = 60 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// shell starts a shell script as a child.
func shell(t *testing.T, script string, change ...func(*localsvc.Command)) *localsvc.Process {
	t.Helper()
	command := localsvc.Command{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, LogFile: filepath.Join(t.TempDir(), "log")}
	for _, f := range change {
		f(&command)
	}
	p, err := localsvc.Start(command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// said is ready when the child has written text.
func said(p *localsvc.Process, text string) func(context.Context) error {
	return func(context.Context) error {
		if strings.Contains(p.Tail(), text) {
			return nil
		}
		return errors.New("has not said " + text)
	}
}

func TestStopIsAskedFirst(t *testing.T) {
	t.Parallel()
	p := shell(t, `trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done`)
	if err := p.Await(within(t), said(p, "up")); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if !strings.Contains(p.Tail(), "asked") {
		t.Errorf("the child was not asked to stop; log: %s", p.Tail())
	}
	if err := p.Err(); err != nil {
		t.Errorf("a child that was stopped is no failure: %v", err)
	}
}

func TestStopGetsHarsher(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		script string
		want   string
	}{
		{`trap '' TERM; trap 'exit 0' QUIT; echo up; while :; do sleep 0.05; done`, "ended on quit"},
		{`trap '' TERM QUIT; echo up; while :; do sleep 0.05; done`, "was killed"},
	} {
		p := shell(t, test.script, func(c *localsvc.Command) {
			c.Stop, c.StopWait = []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT}, 300*time.Millisecond
		})
		if err := p.Await(within(t), said(p, "up")); err != nil {
			t.Fatal(err)
		}
		if err := p.Stop(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Stop: %v, want %q", err, test.want)
		}
	}
}

func TestAwaitNamesDeathAndLog(t *testing.T) {
	t.Parallel()
	p := shell(t, `echo the reason; exit 7`)
	err := p.Await(within(t), func(context.Context) error { return errors.New("no") })
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), p.LogFile()) {
		t.Errorf("Await: %v", err)
	}
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("Err: %v", err)
	}
}

func TestAwaitGivesUp(t *testing.T) {
	t.Parallel()
	p := shell(t, `while :; do sleep 0.05; done`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := p.Await(ctx, func(context.Context) error { return errors.New("still warming up") })
	if err == nil || !strings.Contains(err.Error(), "still warming up") || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("Await: %v", err)
	}
}

func TestChildInheritsNothing(t *testing.T) {
	t.Setenv("LOCALSVC_SECRET", "leaked")
	p := shell(t, `echo "got=$LOCALSVC_SECRET$GIVEN"`, func(c *localsvc.Command) { c.Env = []string{"GIVEN=given"} })
	<-p.Exited()
	if got := p.Tail(); got != "got=given" {
		t.Error(got)
	}
	none := shell(t, `echo "got=$LOCALSVC_SECRET"`)
	<-none.Exited()
	if got := none.Tail(); got != "got=" {
		t.Error(got)
	}
}

func TestTailIsBoundedAndOfThisRun(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := shell(t, `echo now`, func(c *localsvc.Command) { c.LogFile = log })
	<-short.Exited()
	if got := short.Tail(); got != "now" {
		t.Errorf("Tail = %q, want only what this run wrote", got)
	}
	long := shell(t, `i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "line $i"; done`, func(c *localsvc.Command) { c.LogFile = log })
	<-long.Exited()
	got := strings.Split(long.Tail(), "\n")
	if len(got) != 20 || got[0] != "line 2981" || got[19] != "line 3000" {
		t.Errorf("Tail has %d lines: %q … %q", len(got), got[0], got[len(got)-1])
	}
	wide := shell(t, `printf 'x%.0s' $(seq 1 9000); echo; echo last`, func(c *localsvc.Command) { c.LogFile = log })
	<-wide.Exited()
	if got := wide.Tail(); got != "last" {
		t.Errorf("Tail of an overlong line has %d bytes, want whole lines only", len(got))
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	for _, command := range []localsvc.Command{
		{Name: "nothing", Path: "/nonexistent/program", LogFile: filepath.Join(t.TempDir(), "log")},
		{Name: "nothing", Path: "/bin/sh", LogFile: "/nonexistent/log"},
	} {
		if _, err := localsvc.Start(command); err == nil || !strings.HasPrefix(err.Error(), "nothing: ") {
			t.Errorf("Start: %v", err)
		}
	}
}

// TestChildDiesWithParent kills a parent that has no chance to clean up.
func TestChildDiesWithParent(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("only Linux ties a child to its parent")
		return
	}
	log := filepath.Join(t.TempDir(), "log")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentMode+"="+log)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as it should be
	ctx := within(t)
	for running(child) {
		select {
		case <-ctx.Done():
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatal("the child outlived its parent")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// running tells a living process from a zombie nobody has reaped (in a container without an init).
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
