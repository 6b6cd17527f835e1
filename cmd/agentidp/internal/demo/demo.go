// Package demo walks the story of one agent request, enforced for real, through a system of its own on free ports, and checks every step
// against what the service behind Envoy saw. Nothing in it is simulated: the parts that are killed are processes, and they are killed.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/dev"
)

const (
	exitFailed      = 1
	exitInterrupted = 130
	tempPathMax     = 60 // bytes; unix sockets lie below it
)

// Options of a demo.
type Options struct {
	Settings dev.Settings // Dir and Ports are chosen by Run
	Keep     bool         // leave the state directory, with the logs, when all went well
}

// Run starts the system, walks the story, and takes everything down again. The exit status is 0 when every step held.
func Run(options Options, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	interrupted := make(chan struct{})
	go func() {
		select {
		case <-signals:
			close(interrupted)
			cancel(errors.New("interrupted"))
		case <-ctx.Done():
		}
	}()
	status := run(ctx, options, stdout, stderr)
	select {
	case <-interrupted:
		return exitInterrupted
	default:
		return status
	}
}

func run(ctx context.Context, options Options, stdout, stderr io.Writer) int {
	settings := options.Settings
	dir, err := temporary()
	if err == nil {
		err = settings.Ports.ChooseFree(nil)
	}
	if err != nil {
		fmt.Fprintf(stderr, "agentidp demo: %v\n", err)
		return exitFailed
	}
	settings.Dir, settings.Out = dir, stdout
	fmt.Fprintf(stdout, "A system of its own on free ports, in %s\n\n", dir)
	stack, err := dev.Start(ctx, settings)
	if err != nil {
		fmt.Fprintf(stderr, "\nagentidp demo: %v\n", err)
		return finish(dir, exitFailed, options.Keep, stdout, stderr)
	}
	stack.Quiet()
	fmt.Fprint(stdout, "\nThe story, each step checked against what the service saw:\n\n")
	status := tell(ctx, stack, stdout)
	if err := stack.Stop(); err != nil {
		fmt.Fprintf(stderr, "agentidp demo: %v\n", err)
		status = exitFailed
	}
	return finish(dir, status, options.Keep, stdout, stderr)
}

// temporary makes the state directory, under a path short enough for sockets.
func temporary() (string, error) {
	parent := os.TempDir()
	if len(parent) > tempPathMax {
		parent = "/tmp"
	}
	return os.MkdirTemp(parent, "agentidp-demo-")
}

// tell walks the story and prints a line for each step. After a failure it goes on: what else fails says what is wrong.
func tell(ctx context.Context, stack *dev.Stack, out io.Writer) int {
	story, err := newStory(stack)
	if err != nil {
		fmt.Fprintln(out, err)
		return exitFailed
	}
	steps := story.steps()
	held, began := 0, time.Now()
	for i, step := range steps {
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(out, "  %2d  %-64s", i+1, step.name)
		stepCtx, cancel := context.WithTimeout(ctx, stepWait)
		stepBegan := time.Now()
		result, err := step.run(stepCtx)
		cancel()
		word := "ok  "
		if err != nil {
			word, result = "FAIL", err.Error()
		} else {
			held++
		}
		fmt.Fprintf(out, "%s %5.2f s  %s\n", word, time.Since(stepBegan).Seconds(), result)
	}
	fmt.Fprintf(out, "\n%d of %d steps held, in %.1f s\n", held, len(steps), time.Since(began).Seconds())
	if held < len(steps) {
		return exitFailed
	}
	return 0
}

// finish removes the state directory, unless it may be wanted.
func finish(dir string, status int, keep bool, stdout, stderr io.Writer) int {
	if keep || status != 0 {
		fmt.Fprintf(stdout, "configuration and logs are kept in %s (agentidp dev -reset -dir %[1]s removes them)\n", dir)
		return status
	}
	if err := dev.Reset(dir); err != nil {
		fmt.Fprintf(stderr, "agentidp demo: %v\n", err)
		return exitFailed
	}
	return status
}
