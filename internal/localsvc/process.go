package localsvc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	askPause   = 20 * time.Millisecond
	askTimeout = time.Second // of one readiness question
)

// Command describes a child process.
type Command struct {
	Name    string // for people: "PostgreSQL"
	Path    string
	Args    []string
	Env     []string // all of it; nothing is inherited
	Dir     string
	LogFile string   // standard output and error are appended to it
	Account *Account // nil: as we are

	// Stop lists the signals Process.Stop sends, each followed by a bounded wait; SIGKILL comes last by itself. Default: SIGTERM.
	Stop []syscall.Signal
	// StopWait is how long each of them may take. Default: 15 s.
	StopWait time.Duration
}

// Process is a running (or ended) child.
type Process struct {
	cmd      Command
	process  *os.Process
	logStart int64
	exited   chan struct{}
	err      error // set before exited is closed; nil after exit status 0

	mu       sync.Mutex
	stopping bool
}

// Start starts the child. It returns when the program runs, not when it is ready: see Await.
func Start(command Command) (*Process, error) {
	if len(command.Stop) == 0 {
		command.Stop = []syscall.Signal{syscall.SIGTERM}
	}
	if command.StopWait == 0 {
		command.StopWait = 15 * time.Second
	}
	log, err := os.OpenFile(command.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: log file: %w", command.Name, err)
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: log file: %w", command.Name, err)
	}
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = command.Env, command.Dir, log, log
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would mean ours
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	setDeathSignal(cmd.SysProcAttr, command.Stop[0])
	if command.Account != nil {
		cmd.SysProcAttr.Credential = command.Account.credential()
	}
	p := &Process{cmd: command, logStart: info.Size(), exited: make(chan struct{})}
	started := make(chan error)
	go p.run(cmd, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", command.Name, err)
	}
	return p, nil
}

// run starts and awaits the child on one locked thread, because the kernel's death signal is tied to the thread that forked.
func (p *Process) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	p.process = cmd.Process
	started <- nil
	p.err = cmd.Wait()
	close(p.exited)
}

// PID identifies the child; another process may have it once Exited is closed.
func (p *Process) PID() int { return p.process.Pid }

// Name is the name for people.
func (p *Process) Name() string { return p.cmd.Name }

// LogFile is where the child writes.
func (p *Process) LogFile() string { return p.cmd.LogFile }

// Exited is closed when the child has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err says why the child ended, with the end of its log; nil while it runs, and when it ended because Stop or Kill asked for it.
func (p *Process) Err() error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil
	}
	return p.failure("ended by itself: " + p.exitText())
}

func (p *Process) exitText() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

func (p *Process) failure(what string) error {
	if tail := p.Tail(); tail != "" {
		return fmt.Errorf("%s %s; the end of %s:\n%s", p.cmd.Name, what, p.cmd.LogFile, indent(tail))
	}
	return fmt.Errorf("%s %s; %s is empty", p.cmd.Name, what, p.cmd.LogFile)
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// Await asks until ready answers nil. It gives up when ctx ends or the child does, and then says what the last answer and the end of the log were.
func (p *Process) Await(ctx context.Context, ready func(context.Context) error) error {
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		err := ready(ask)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.failure("ended before it was ready: " + p.exitText())
		case <-ctx.Done():
			return p.failure(fmt.Sprintf("did not get ready (%v; last answer: %v)", context.Cause(ctx), err))
		case <-pause.C:
		}
	}
}

// Finish waits for a child that ends by itself when its work is done, and kills it when ctx ends before. The error is nil only for exit status 0.
func (p *Process) Finish(ctx context.Context) error {
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.Kill()
		return p.failure(fmt.Sprintf("did not finish (%v)", context.Cause(ctx)))
	}
	if p.err != nil {
		return p.failure("failed: " + p.err.Error())
	}
	return nil
}

// Stop ends the child and returns when it is gone. It is safe to call twice. The error tells that the first signal was not enough.
func (p *Process) Stop() error {
	for i, signal := range p.cmd.Stop {
		p.Signal(signal)
		timeout := time.NewTimer(p.cmd.StopWait)
		select {
		case <-p.exited:
			timeout.Stop()
			if i > 0 {
				return fmt.Errorf("%s (pid %d) ignored %v and ended on %v", p.cmd.Name, p.process.Pid, p.cmd.Stop[0], signal)
			}
			return nil
		case <-timeout.C:
		}
	}
	p.Kill()
	return fmt.Errorf("%s (pid %d) ignored %v and was killed", p.cmd.Name, p.process.Pid, p.cmd.Stop[0])
}

// Kill ends the child without asking, and returns when it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.exited
}

// Abort ends the child without asking and without waiting.
func (p *Process) Abort() { p.Signal(syscall.SIGKILL) }

// Signal sends a signal, and notes that the child was meant to end. A child that has ended is left alone, so its pid is never someone else's.
func (p *Process) Signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.exited:
		return
	default:
	}
	p.stopping = true
	_ = p.process.Signal(signal) // os.Process never signals a pid it has already reaped
}
