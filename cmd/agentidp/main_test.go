package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/testkit"
)

const patience = 3 * time.Minute // two busy cores, a cold cache

// build makes the programs once for all tests of this package: the real ones, with counters when coverage is collected.
var build = sync.OnceValues(func() (dir string, err error) {
	dir, err = os.MkdirTemp("/tmp", "agentidp-bin-")
	if err != nil {
		return "", err
	}
	built.dir = dir
	args := []string{"build", "-o", dir + "/"}
	if coverDir() != "" {
		args = append(args, "-cover", "-covermode=atomic", "-coverpkg=github.com/agentidp/agentidp/...")
	}
	out, err := exec.Command("go", append(args, "../agentidp", "../issuer", "../extauthz")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

var built struct{ dir string }

func coverDir() string { return os.Getenv("AGENTIDP_COVERDIR") }

func TestMain(m *testing.M) {
	testkit.MainCleanup(m, func() error {
		if built.dir == "" {
			return nil
		}
		return os.RemoveAll(built.dir)
	})
}

// programs is the folder with the built programs.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// process is a running agentidp, whose output is read as it comes.
type process struct {
	*exec.Cmd
	t     *testing.T
	lines chan string
	ended chan error

	mu     sync.Mutex
	output bytes.Buffer
}

// start runs agentidp. The environment is small on purpose.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(filepath.Join(programs(t), "agentidp"), args...), t: t, lines: make(chan string, 1000), ended: make(chan error, 1)}
	p.Env = append([]string{"PATH=" + os.Getenv("PATH"), "ENVOY=" + testkit.EnvoyProgram(t), "GOCOVERDIR=" + coverDir()}, env...)
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = p.Stdout // one pipe keeps the order
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			p.mu.Lock()
			p.output.WriteString(scanner.Text() + "\n")
			p.mu.Unlock()
			p.lines <- scanner.Text()
		}
		close(p.lines)
		p.ended <- p.Cmd.Wait()
	}()
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Signal(syscall.SIGTERM)
			<-p.ended
		}
		if t.Failed() {
			t.Logf("agentidp %s:\n%s", strings.Join(args, " "), p.text())
		}
	})
	return p
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// await reads until a line contains text.
func (p *process) await(text string) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				p.t.Fatalf("ended without saying %q:\n%s", text, p.text())
			}
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			p.t.Fatalf("did not say %q:\n%s", text, p.text())
		}
	}
}

// exit waits for the end and returns the exit status and everything that was printed.
func (p *process) exit() (int, string) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case _, open := <-p.lines:
			if open {
				continue
			}
		case <-timeout:
			p.t.Fatalf("did not end:\n%s", p.text())
		}
		err := <-p.ended
		p.ended <- err
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return exit.ExitCode(), p.text()
		}
		if err != nil {
			p.t.Fatal(err)
		}
		return 0, p.text()
	}
}

// agentidp runs a command to its end.
func agentidp(t *testing.T, args ...string) (int, string) {
	t.Helper()
	return start(t, nil, args...).exit()
}

var pidPattern = regexp.MustCompile(`pid (\d+)`)

// pids are the processes the output names.
func pids(output string) []string {
	var all []string
	for _, m := range pidPattern.FindAllStringSubmatch(output, -1) {
		all = append(all, m[1])
	}
	return all
}

// gone fails for each named process that still runs.
func gone(t *testing.T, output string) {
	t.Helper()
	named := pids(output)
	if len(named) < 4 {
		t.Errorf("only %d processes were named:\n%s", len(named), output)
	}
	for _, pid := range named {
		if command, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && len(command) > 0 {
			t.Errorf("process %s still runs: %q", pid, bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
		}
	}
}

// stateDir is a folder that is not there yet, with a short name, which user postgres can pass through when the tests run as root.
func stateDir(t *testing.T) string {
	t.Helper()
	parent, err := os.MkdirTemp("/tmp", "agentidp-dev-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(parent, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	return filepath.Join(parent, "state")
}

func shell(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s\n%s", err, script, out)
	}
	return string(out)
}
