// Command agentidp runs the whole system on one machine (dev), shows that it holds what it promises (demo), and fetches tokens from it (token).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/agentidp/agentidp/internal/obs"
)

const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// environment is what a command sees of the process.
type environment struct {
	args           []string
	getenv         func(string) string
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	executable     string
}

// command is one word after agentidp.
type command struct {
	name, summary string
	run           func(environment) int
}

func commands() []command {
	return []command{
		{"dev", "run PostgreSQL, Redis, issuer, extauthz, Envoy and a demo service here until Ctrl-C", runDev},
		{"demo", "the same on free ports, then check step by step what the edge promises", runDemo},
		{"token", "print an access token of the demo agent of a running dev", runToken},
	}
}

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // a closed terminal stops everything in order, too
	executable, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "agentidp:", err)
		os.Exit(exitError)
	}
	os.Exit(run(environment{os.Args[1:], os.Getenv, os.Stdout, os.Stderr, signals, executable}))
}

func run(env environment) int {
	if len(env.args) == 0 {
		usage(env.stderr)
		return exitUsage
	}
	name := env.args[0]
	env.args = env.args[1:]
	switch name {
	case "-version", "--version":
		build := obs.Build()
		fmt.Fprintf(env.stdout, "agentidp %s %s\n", build.Version, build.Go)
		return exitOK
	case "help", "-h", "-help", "--help":
		usage(env.stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(env)
		}
	}
	fmt.Fprintf(env.stderr, "agentidp: there is no command %q\n\n", name)
	usage(env.stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "usage: agentidp command [flag ...]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprintf(w, "\nagentidp command -h lists its flags; agentidp -version prints the version.\n")
}

// parse reads the flags of a command; done tells that the command has nothing left to do.
func parse(flags *flag.FlagSet, env environment) (status int, done bool) {
	flags.SetOutput(env.stderr)
	switch err := flags.Parse(env.args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, true
	case err != nil:
		return exitUsage, true
	case flags.NArg() > 0:
		fmt.Fprintf(env.stderr, "agentidp %s: unexpected %q\n", flags.Name(), flags.Arg(0))
		return exitUsage, true
	}
	return exitOK, false
}

// fail prints why a command ends.
func fail(env environment, name string, err error) int {
	fmt.Fprintf(env.stderr, "agentidp %s: %v\n", name, err)
	return exitError
}
