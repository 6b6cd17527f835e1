// Command extauthz is the sidecar that Envoy asks about each request. docs/extauthz.md is its manual.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/agentidp/agentidp/extauthz"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/heap"
	"github.com/agentidp/agentidp/internal/lifecycle"
	"github.com/agentidp/agentidp/internal/obs"
)

func main() {
	ctx, stop := lifecycle.SignalContext(context.Background())
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// heapRoom is what may be allocated between two garbage collections: some six thousand remembered checks.
const heapRoom = 20 << 20

const defaultConfig = "extauthz.yaml"

// Exit statuses.
const (
	ok         = 0
	failed     = 1 // the config is not good, or a part could not go on
	wrongUsage = 2
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("extauthz", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", defaultConfig, "the config `file`; see docs/extauthz.md")
	check := flags.Bool("check", false, "check the config and the files it names, say what would be done, and exit without opening a socket")
	version := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case err == flag.ErrHelp:
		return ok
	case err != nil:
		return wrongUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "extauthz: unexpected argument %q\n", flags.Arg(0))
		return wrongUsage
	}
	if *version {
		build := obs.Build()
		fmt.Fprintf(stdout, "extauthz %s %s\n", build.Version, build.Go)
		return ok
	}
	var cfg extauthz.Config
	if err := config.Load(*file, &cfg); err != nil {
		if _, missing := os.Stat(*file); *file == defaultConfig && errors.Is(missing, fs.ErrNotExist) {
			err = fmt.Errorf("%w; name one with -config", err)
		}
		fmt.Fprintln(stderr, err) // one line for each problem
		return failed
	}
	goMemLimit, resident := cfg.MemoryMax()
	limit := heap.LimitFor(goMemLimit)
	if *check {
		if problems := cfg.CheckOrganizations(); len(problems) > 0 {
			fmt.Fprintln(stderr, strings.Join(problems, "\n"))
			return failed
		}
		fmt.Fprintf(stdout, "%s: good\n", *file)
		cfg.Describe(stdout)
		describeLimit(stdout, limit, resident)
		return ok
	}
	defer heap.Pace(heapRoom).Stop()
	defer limit.Apply()()
	log := obs.NewLogger(stderr, cfg.Log.Level).With("service", "extauthz")
	slog.SetDefault(log) // libraries that log without asking
	logLimit(log, limit, resident)
	err := extauthz.Run(ctx, &cfg, extauthz.Process{Log: log, Registry: obs.NewRegistry("extauthz"), Now: time.Now, Stdout: stdout})
	if err != nil {
		log.Error("cannot go on", "err", err.Error())
		return failed
	}
	log.Info("stopped")
	return ok
}
