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
	"github.com/agentidp/agentidp/internal/seal"
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
	rewrap := flags.Bool("rewrap", false, "wrap every data key with the current key-encryption key and exit")
	generateKEK := flags.Bool("generate-kek", false, "print a new key-encryption key and exit")
	rotateKEK := flags.String("rotate-kek", "", "print the key-encryption key in `file` with a new primary key added, and exit")
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
	if *generateKEK || *rotateKEK != "" {
		return printKEK(*rotateKEK, stdout, stderr)
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
	switch {
	case *migrate:
		work = issuer.Migrate
	case *rewrap:
		work = issuer.Rewrap
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
		return 1
	}
	_, err = stdout.Write(document)
	if err != nil {
		return 1
	}
	return 0
}
