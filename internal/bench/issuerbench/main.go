// Command issuerbench measures bin/issuer over a real PostgreSQL, with every token audited, beside a floor, a handler that does nothing but sign a token behind the same
// HTTP stack, and a peer, node-oidc-provider in memory, in one run. docs/performance.md says what each row means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
	"github.com/agentidp/agentidp/internal/lifecycle"
)

func main() {
	ctx, stop := lifecycle.SignalContext(context.Background())
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "issuerbench: could not measure: %v\n", err)
		os.Exit(1)
	}
}

// floorCommand makes this program the floor.
const floorCommand = "floor"

// options are the flags, and what tests make smaller.
type options struct {
	issuer  string
	out     string
	span    time.Duration // of a point
	repeats int
	clients int
	peer    bool
	stderr  io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 3 && args[0] == floorCommand {
		return serveFloor(ctx, args[1], args[2])
	}
	o := options{stderr: stderr}
	flags := flag.NewFlagSet("issuerbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.issuer, "issuer", "bin/issuer", "the `program` to measure")
	flags.StringVar(&o.out, "out", "bench.json", "`file` for the rows as JSON")
	seconds := flags.Float64("seconds", 2, "`seconds` a point takes")
	flags.IntVar(&o.repeats, "repeats", 5, "how often each point is measured")
	flags.IntVar(&o.clients, "clients", 100, "how many clients take turns")
	flags.BoolVar(&o.peer, "peer", true, "measure node-oidc-provider, when npm is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.span = time.Duration(*seconds * float64(time.Second))
	if flags.NArg() > 0 || o.span <= 0 || o.repeats <= 0 || o.clients <= 0 {
		return errors.New("the flags make no sense together; -h lists them")
	}
	var err error
	if o.issuer, err = filepath.Abs(o.issuer); err != nil { // it is started in a folder of its own
		return err
	}
	fmt.Fprintf(stdout, "machine: %s\n", measure.Machine())
	rows, b, err := o.measure(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "points: %d repeats of %v, interleaved; medians, ratios within a repeat; %d clients; others used %.0f %% of the machine (at worst %.0f %%), load average at the end %s\n\n",
		o.repeats, o.span, o.clients, 100*measure.Median(b.shares), 100*slices.Max(b.shares), measure.LoadAverage())
	if err := report.Print(stdout, rows); err != nil {
		return err
	}
	f, err := os.Create(o.out)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteJSON(f, rows), f.Close())
}

func (o options) measure(ctx context.Context) (rows []report.Row, b *bench, err error) {
	dir, err := os.MkdirTemp("", "aidp-bench-") // sockets are in it: a short name
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	b = &bench{options: o, dir: dir}
	defer b.close()
	if err := b.open(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w%s", err, b.logs())
	}
	if rows, err = b.rows(ctx); err != nil {
		return nil, nil, fmt.Errorf("%w%s", err, b.logs())
	}
	return rows, b, nil
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.options.stderr, "bench: "+format+"\n", args...)
}
