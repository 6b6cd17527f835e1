// Command withpostgres runs a command with one throw-away PostgreSQL for all of it: its superuser DSN is in AGENTIDP_TEST_POSTGRES.
//
//	go run ./internal/testkit/withpostgres go test ./...
//
// The exit status is that of the command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
)

const startWait = 60 * time.Second

func main() {
	// A terminal sends Ctrl-C to the command as well; it decides when it is done, and then the server is stopped.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr, signals))
}

func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(stderr, "usage: withpostgres [--] command [argument ...]")
		return 2
	}
	begin := time.Now()
	startCtx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	server, err := testkit.StartThrowawayPostgres(startCtx)
	if err != nil {
		fmt.Fprintln(stderr, "withpostgres:", err)
		return 1
	}
	fmt.Fprintf(stderr, "PostgreSQL for the tests: pid %d, %s, %.1f s\n", server.PID(), server.SocketDir, time.Since(begin).Seconds())
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(env, testkit.PostgresVariable+"="+server.DSN(localsvc.Superuser, "postgres"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	status := runForwarding(cmd, stderr, signals)
	if err := server.Discard(); err != nil {
		fmt.Fprintln(stderr, "withpostgres:", err)
		status = max(status, 1)
	}
	return status
}

// runForwarding runs the command and passes termination on to it.
func runForwarding(cmd *exec.Cmd, stderr io.Writer, signals <-chan os.Signal) int {
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(stderr, "withpostgres:", err)
		return 127 // what a shell says of a command it cannot run
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != os.Interrupt { // that one the terminal has delivered
				_ = cmd.Process.Signal(s) // it may just have ended
			}
		case err := <-done:
			return exitStatus(err, stderr)
		}
	}
}

func exitStatus(err error, stderr io.Writer) int {
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintln(stderr, "withpostgres:", err)
		return 1
	case exit.ExitCode() < 0: // ended by a signal
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	return exit.ExitCode()
}
