package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
)

// The goals of issue "extauthz complete".
const (
	warmCPUMax  = 0.9
	warmP99Max  = 1.2
	denialMax   = 1.06 // as cheap as an allow; between repeats on a quiet machine a point moves by 6 %
	peerCPUMax  = 1.0 / 15
	manyTokens  = 10_000
	warmupShare = 0.2 // of a point, before it
	triesMax    = 4   // of a point
)

// loader is a load that can be put on servers again and again.
type loader interface {
	run(ctx context.Context, warm, span time.Duration) (point, error)
}

// scenario is one load, measured in each repeat.
type scenario struct {
	name   string
	loader loader
	points []point
}

// figures of a scenario, one for each repeat.
func (s *scenario) figures(of func(point) float64) []float64 {
	values := make([]float64, len(s.points))
	for i, p := range s.points {
		values[i] = of(p)
	}
	return values
}

func cpu(p point) float64    { return p.cpu }
func p50(p point) float64    { return micros(p.p50) }
func p99(p point) float64    { return micros(p.p99) }
func perSec(p point) float64 { return p.perSec }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// compare makes medians of ours, theirs, and of the ratio in each repeat: what troubled the machine troubled both.
func compare(ours, theirs *scenario, of func(point) float64) (o, t, ratio float64) {
	a, b := ours.figures(of), theirs.figures(of)
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return measure.Median(a), measure.Median(b), measure.Median(ratios)
}

func compared(name string, ours, theirs *scenario, of func(point) float64, goal float64) report.Row {
	o, t, ratio := compare(ours, theirs, of)
	return report.Compared(name, o, t, ratio, goal)
}

// direct measures the servers without Envoy.
type direct struct {
	*bench
	floor, ours, coldServer, peer *server
	scenarios                     []*scenario
}

func (b *bench) direct(ctx context.Context) ([]report.Row, error) {
	d := &direct{bench: b}
	b.progress("start the servers, sign %d tokens", b.options.tokens)
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	if err := b.interleave(ctx, d.scenarios); err != nil {
		return nil, err
	}
	return d.rows(), nil
}

func (d *direct) prepare(ctx context.Context) (err error) {
	if d.floor, err = d.startFloor(ctx); err != nil {
		return err
	}
	if d.ours, err = d.startOurs(ctx, "warm"); err != nil {
		return err
	}
	if d.coldServer, err = d.startOurs(ctx, "cold"); err != nil {
		return err
	}
	one := []message{d.first[rawHeaders]}
	many, err := d.messages(d.options.tokens, scopeHeld)
	if err != nil {
		return err
	}
	unscoped, err := d.messages(1, scopeOther)
	if err != nil {
		return err
	}
	for _, c := range []struct{ callers, conns int }{{1, 1}, {16, 2}, {64, 4}} {
		d.add(fmt.Sprintf("floor %d", c.callers), d.floor, one, allowed, c.callers, c.conns)
		d.add(fmt.Sprintf("ours %d", c.callers), d.ours, one, allowedAs, c.callers, c.conns)
	}
	d.add("ours denial", d.ours, unscoped, deniedScope, 16, 2)
	d.add("ours many", d.ours, many, allowedAs, 16, 2)
	d.scenarios = append(d.scenarios, &scenario{name: "ours cold", loader: &coldLoad{d.bench, d.coldServer}})
	prover, err := newProver(d.fixture)
	if err != nil {
		return err
	}
	proofs := &dpopLoad{d.bench, d.coldServer, prover}
	d.progress("wait until a DPoP proof is taken")
	if err := proofs.await(ctx); err != nil {
		return err
	}
	d.scenarios = append(d.scenarios, &scenario{name: "ours dpop", loader: proofs})
	if d.options.peer == "" {
		return nil
	}
	if d.peer, err = d.startPeer(ctx); err != nil {
		return err
	}
	mapped := []message{d.first[mappedHeaders]}
	d.add("ours mapped", d.ours, mapped, allowedAs, 16, 2)
	d.add("peer", d.peer, mapped, allowed, 16, 2)
	return nil
}

func (d *direct) add(name string, s *server, messages []message, want outcome, callers, conns int) {
	d.scenarios = append(d.scenarios, &scenario{name: name, loader: &load{
		socket: s.socket, pids: []int{s.PID()}, messages: messages, want: want, callers: callers, conns: conns,
	}})
}

// coldLoad sends tokens nobody has seen, each once; they are signed before each point.
type coldLoad struct {
	bench  *bench
	server *server
}

func (c *coldLoad) run(ctx context.Context, _, _ time.Duration) (point, error) {
	messages, err := c.bench.messages(c.bench.options.coldTokens, scopeHeld)
	if err != nil {
		return point{}, err
	}
	l := load{socket: c.server.socket, pids: []int{c.server.PID()}, messages: messages, want: allowedAs, callers: 16, conns: 2, once: true}
	return l.run(ctx, 0, 0)
}

func (b *bench) messages(n int, scope string) ([]message, error) {
	tokens, err := b.fixture.tokens(n, scope)
	if err != nil {
		return nil, err
	}
	return newMessages(tokens, rawHeaders)
}

// interleave measures each scenario once, then each once more, so that a busy minute of the machine hurts all alike.
func (b *bench) interleave(ctx context.Context, scenarios []*scenario) error {
	for repeat := range b.options.repeats {
		for i, s := range scenarios {
			b.progress("repeat %d of %d, point %d of %d: %s", repeat+1, b.options.repeats, i+1, len(scenarios), s.name)
			p, err := b.point(ctx, s.loader)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.points = append(s.points, p)
			b.shares = append(b.shares, p.foreign)
		}
	}
	return nil
}

// point measures, and measures again when an answer was no decision. A wrong decision ends the run at once.
func (b *bench) point(ctx context.Context, l loader) (p point, err error) {
	for range triesMax {
		p, err = l.run(ctx, time.Duration(warmupShare*float64(b.options.span)), b.options.span)
		if !errors.Is(err, errUndecided) {
			return p, err
		}
		b.again++
		b.progress("again, after a 503")
	}
	return p, err
}

func (d *direct) scenario(name string) *scenario {
	for _, s := range d.scenarios {
		if s.name == name {
			return s
		}
	}
	panic("no scenario " + name)
}

func (d *direct) rows() []report.Row {
	var rows []report.Row
	for _, callers := range []string{"1", "16", "64"} {
		what := "warm check, 1 token, " + callers + plural(" caller", callers)
		ours, floor := d.scenario("ours "+callers), d.scenario("floor "+callers)
		rows = append(rows,
			compared(what+": server CPU, us", ours, floor, cpu, warmCPUMax),
			compared(what+": p99, us", ours, floor, p99, warmP99Max))
	}
	ours, many, cold := d.scenario("ours 16"), d.scenario("ours many"), d.scenario("ours cold")
	what := fmt.Sprintf("warm check, %d tokens, 16 callers", d.options.tokens)
	rows = append(rows,
		compared(what+": server CPU, us", many, d.scenario("floor 16"), cpu, warmCPUMax),
		compared(what+": p99, us", many, d.scenario("floor 16"), p99, warmP99Max),
		compared("denial (scope missing) against an allow, 16 callers: server CPU, us", d.scenario("ours denial"), ours, cpu, denialMax))
	o, t, ratio := compare(cold, d.scenario("floor 16"), cpu)
	rows = append(rows, report.Shown("cold token, 16 callers: server CPU, us", o, t, ratio))
	o, t, ratio = compare(d.scenario("ours dpop"), d.scenario("floor 16"), cpu)
	rows = append(rows, report.Shown("DPoP, 1 token, a new proof each, 16 callers: server CPU, us", o, t, ratio))
	o, t, ratio = compare(ours, d.scenario("floor 16"), perSec)
	rows = append(rows, report.Shown("warm check, 1 token, 16 callers: requests/s", o, t, ratio))
	if d.peer == nil {
		return append(rows, report.NotGiven("JWT policy, 16 callers: server CPU, us (opa-envoy-plugin not given: no package ships it, set OPA_ENVOY)", peerCPUMax))
	}
	peer, mapped := d.scenario("peer"), d.scenario("ours mapped")
	o, t, ratio = compare(mapped, peer, p99)
	return append(rows,
		compared("JWT policy against opa-envoy-plugin, 16 callers: server CPU, us", mapped, peer, cpu, peerCPUMax),
		report.Shown("JWT policy against opa-envoy-plugin, 16 callers: p99, us", o, t, ratio))
}

func plural(noun, count string) string {
	if strings.TrimSpace(count) == "1" {
		return noun
	}
	return noun + "s"
}
