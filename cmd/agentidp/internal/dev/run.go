package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	exitFailed      = 1
	exitInterrupted = 130 // what a shell says of a program ended by Ctrl-C
	// burstWindow is the time in which signals count as one: timeout(1) and some supervisors send theirs to the process and to its group.
	burstWindow = 500 * time.Millisecond
)

// Run starts the system, prints what it started and what to try, and runs it until the first signal; the second ends everything at once.
// The result is the exit status: 0 after a signal, 1 when a part could not start or died.
func Run(settings Settings, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	settings.Out, settings.Shown = stdout, settings.Dir
	fmt.Fprintf(stdout, "AgentIdP on this machine; state in %s\n\n", settings.Dir)

	started := make(chan struct{})
	var stack *Stack
	var err error
	go func() {
		defer close(started)
		stack, err = Start(ctx, settings)
	}()
	select {
	case <-started:
	case <-signals:
		cancel(errors.New("interrupted"))
		<-started // Start gives up and stops what it had started
		if stack != nil {
			stop(stack, signals, stdout, stderr)
		}
		return exitInterrupted
	}
	if err != nil {
		fmt.Fprintf(stderr, "\nagentidp dev: %v\n", err)
		return exitFailed
	}
	stack.PrintCommands(stdout)
	fmt.Fprintf(stdout, "\nThe policy in %s can be edited while this runs. Ctrl-C stops everything and keeps the data.\n", stack.Path("policies/mesh"))
	select {
	case err = <-stack.Failed():
		fmt.Fprintf(stderr, "\nagentidp dev: %v\n", err)
	case <-signals:
	}
	return max(stop(stack, signals, stdout, stderr), status(err))
}

func status(err error) int {
	if err != nil {
		return exitFailed
	}
	return 0
}

// stop stops in order; a signal in the meantime ends everything at once.
func stop(stack *Stack, signals <-chan os.Signal, stdout, stderr io.Writer) int {
	fmt.Fprintln(stdout, "\nStopping (Ctrl-C again: at once)")
	burst := time.After(burstWindow)
	var again <-chan os.Signal // nil until the burst is over
	stopped := make(chan error, 1)
	go func() { stopped <- stack.Stop() }()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				fmt.Fprintf(stderr, "agentidp dev: %v\n", err)
			}
			return status(err)
		case <-burst:
			drop(signals)
			again = signals
		case <-again:
			stack.Abort()
			<-stopped // the reasons are that they were killed
			return exitInterrupted
		}
	}
}

// drop forgets the signals that have arrived.
func drop(signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
		default:
			return
		}
	}
}
