// Command issuer registers agents and issues their tokens. docs/issuer.md is its manual.
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
	"time"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/lifecycle"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer"
)

func main() {
	ctx, stop := lifecycle.SignalContext(context.Background())
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

const defaultConfig = "issuer.yaml"

// Exit statuses.
const (
	ok         = 0
	failed     = 1 // the configuration is not good, or the work could not be done
	wrongUsage = 2
)

// run is main without the process.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("issuer", flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", defaultConfig, "the configuration `file`; see docs/issuer.md")
	check := flags.Bool("check", false, "check the configuration and the files it names, say what would be done, and exit without opening a socket")
	migrate := flags.Bool("migrate", false, "make the database's roles and schema, or bring them up to date, as database.owner, and exit")
	rewrap := flags.Bool("rewrap", false, "wrap every data key with the current key-encryption key and exit")
	generateKEK := flags.Bool("generate-kek", false, "print a new key-encryption key and exit")
	rotateKEK := flags.String("rotate-kek", "", "print the key-encryption key in `file` with a new primary key added, and exit")
	version := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return ok
	case err != nil:
		return wrongUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "issuer: unexpected argument %q\n", flags.Arg(0))
		return wrongUsage
	}
	if *version {
		build := obs.Build()
		fmt.Fprintf(stdout, "issuer %s %s\n", build.Version, build.Go)
		return ok
	}
	if *generateKEK || *rotateKEK != "" {
		return printKEK(*rotateKEK, stdout, stderr)
	}
	var cfg issuer.Config
	if err := config.Load(*path, &cfg); err != nil {
		if _, missing := os.Stat(*path); *path == defaultConfig && errors.Is(missing, fs.ErrNotExist) {
			err = fmt.Errorf("%w; name one with -config", err)
		}
		fmt.Fprintln(stderr, err) // one line for each problem
		return failed
	}
	if *check {
		fmt.Fprintf(stdout, "%s: good\n", *path)
		cfg.Describe(stdout)
		return ok
	}
	log := obs.NewLogger(stderr, cfg.Log.Level).With("service", "issuer")
	slog.SetDefault(log) // libraries that log without asking
	work := serve
	switch {
	case *migrate:
		work = issuer.Migrate
	case *rewrap:
		work = issuer.Rewrap
	}
	if err := work(ctx, cfg, log); err != nil {
		log.Error("cannot go on", "err", err.Error())
		fmt.Fprint(stdout, issuer.MissingSQL(err)) // to be read, or piped into psql
		return failed
	}
	return ok
}

func serve(ctx context.Context, cfg issuer.Config, log *slog.Logger) error {
	i, err := issuer.New(ctx, cfg, issuer.Environment{Log: log, Registry: obs.NewRegistry("issuer"), Now: time.Now})
	if err != nil {
		return err
	}
	defer i.Close()
	if err := i.Run(ctx); err != nil {
		return err
	}
	log.InfoContext(ctx, "stopped")
	return nil
}

// printKEK makes a key-encryption key, or rotates the one in a file. It is printed and never written over anything: losing the old one loses every secret.
func printKEK(rotate string, stdout, stderr io.Writer) int {
	document, err := []byte(nil), error(nil)
	if rotate == "" {
		document, err = seal.GenerateKEK()
	} else if document, err = os.ReadFile(rotate); err == nil {
		document, err = seal.RotateKEK(document)
	}
	if err != nil {
		fmt.Fprintln(stderr, "issuer:", err)
		return failed
	}
	if _, err = stdout.Write(document); err != nil {
		return failed
	}
	return ok
}
