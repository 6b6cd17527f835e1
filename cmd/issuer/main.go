// Command issuer registers agents and issues their tokens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/lifecycle"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/issuer"
)

func main() {
	ctx, stop := lifecycle.SignalContext(context.Background())
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main without the process: 0 when all went well, 1 when it did not, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("issuer", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "issuer.yaml", "configuration `file`")
	check := flags.Bool("check", false, "check the configuration and exit; nothing is opened")
	migrate := flags.Bool("migrate", false, "bring the database up to date (as database.owner) and exit")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || flags.NArg() != 0 {
		return 2
	}
	if *version {
		fmt.Fprintln(stdout, "issuer", obs.Build().Version, obs.Build().Go)
		return 0
	}
	var cfg issuer.Config
	if err := config.Load(*path, &cfg); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if *check {
		return 0
	}
	log := obs.NewLogger(stdout, cfg.Log.Level)
	work := serve
	if *migrate {
		work = issuer.Migrate
	}
	if err := work(ctx, cfg, log); err != nil {
		fmt.Fprintln(stderr, "issuer:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, cfg issuer.Config, log *slog.Logger) error {
	i, err := issuer.New(ctx, cfg, issuer.Environment{Log: log, Registry: obs.NewRegistry("issuer"), Now: time.Now})
	if err != nil {
		return err
	}
	defer i.Close()
	return i.Run(ctx)
}
