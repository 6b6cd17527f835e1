// Command extauthzbench measures bin/extauthz against a floor, a no-op server on the standard library of its protocol, and
// a peer, in one run. docs/performance.md says what each row means.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
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
		fmt.Fprintf(os.Stderr, "extauthzbench: could not measure: %v\n", err)
		os.Exit(1)
	}
}

// floorCommand makes this program the floor.
const floorCommand = "floor"

// options are the flags, and what tests make smaller.
type options struct {
	extauthz   string
	peer       string // "" when not given
	envoy      string // $ENVOY; "" looks for it
	throughIt  bool   // through Envoy
	underFlood bool   // good requests beside bad ones
	out        string
	profileTo  string        // "" measures
	span       time.Duration // of a point
	repeats    int
	tokens     int // that are remembered
	coldTokens int // in each repeat
	stderr     io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 2 && args[0] == floorCommand {
		return serveFloor(ctx, args[1])
	}
	o := options{stderr: stderr, tokens: manyTokens, coldTokens: 8000}
	flags := flag.NewFlagSet("extauthzbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.extauthz, "extauthz", "bin/extauthz", "the `program` to measure")
	flags.StringVar(&o.peer, "opa-envoy", "", "opa-envoy-plugin's `program`, to compare with")
	flags.StringVar(&o.envoy, "envoy-program", "", "Envoy's `program`; else it is looked for")
	flags.BoolVar(&o.throughIt, "envoy", false, "measure through Envoy")
	flags.BoolVar(&o.underFlood, "flood", false, "measure what good requests get beside a flood of bad ones")
	flags.StringVar(&o.out, "out", "bench.json", "`file` for the rows as JSON")
	flags.StringVar(&o.profileTo, "profile", "", "measure nothing, and write a CPU profile of the warm load to this `file`")
	seconds := flags.Float64("seconds", 2, "`seconds` a point takes")
	flags.IntVar(&o.repeats, "repeats", 5, "how often each point is measured")
	flags.IntVar(&o.tokens, "tokens", o.tokens, "how many tokens are remembered")
	flags.IntVar(&o.coldTokens, "cold-tokens", o.coldTokens, "how many tokens are seen once, in each repeat")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.span = time.Duration(*seconds * float64(time.Second))
	if flags.NArg() > 0 || o.span <= 0 || o.repeats <= 0 || o.tokens <= 0 || o.coldTokens <= 0 {
		return errors.New("the flags make no sense together; -h lists them")
	}
	for _, program := range []*string{&o.extauthz, &o.peer} { // they are started in a folder of their own
		if *program != "" {
			absolute, err := filepath.Abs(*program)
			if err != nil {
				return err
			}
			*program = absolute
		}
	}
	fmt.Fprintf(stdout, "machine: %s\n", measure.Machine())
	if o.profileTo != "" {
		return o.within(func(b *bench) error { return b.profile(ctx, o.profileTo) })
	}
	rows, b, err := o.measure(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "points: %d repeats of %v, interleaved; medians, ratios within a repeat; others used %.0f %% of the machine (at worst %.0f %%), %d points again after a 503, load average at the end %s\n\n",
		o.repeats, o.span, 100*measure.Median(b.shares), 100*slices.Max(b.shares), b.again, measure.LoadAverage())
	if err := report.Print(stdout, rows); err != nil {
		return err
	}
	if b.details != "" {
		fmt.Fprintf(stdout, "\n%s", b.details)
	}
	return writeJSON(o.out, rows)
}

// within makes a bench in a folder of its own and takes both away again.
func (o options) within(work func(*bench) error) error {
	dir, err := os.MkdirTemp("", "agentidp-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBench(o, dir)
	if err != nil {
		return err
	}
	defer b.close()
	return work(b)
}

func (o options) measure(ctx context.Context) (rows []report.Row, measured *bench, err error) {
	err = o.within(func(b *bench) error {
		measured = b
		rows, err = b.parts(ctx)
		return err
	})
	return rows, measured, err
}

// parts measures what was asked for, one part after the other.
func (b *bench) parts(ctx context.Context) (rows []report.Row, err error) {
	parts := []func(context.Context) ([]report.Row, error){
		b.direct,
		func(context.Context) ([]report.Row, error) { return b.coldInProcess() },
		b.allocations,
		b.sidecar,
	}
	if b.options.throughIt {
		parts = []func(context.Context) ([]report.Row, error){b.throughEnvoy}
	}
	if b.options.underFlood {
		parts = []func(context.Context) ([]report.Row, error){b.flood}
	}
	for _, part := range parts {
		more, err := part(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w%s", err, b.logs())
		}
		rows = append(rows, more...)
		runtime.GC() // what one part left is not collected while the next one is measured
	}
	return rows, nil
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.options.stderr, "bench: "+format+"\n", args...)
}

func writeJSON(file string, rows []report.Row) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteJSON(f, rows), f.Close())
}
