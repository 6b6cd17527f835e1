package main

import (
	"context"
	"fmt"
	"math"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
)

// The goals.
const (
	perCoreMin = 5000.0 // client_credentials tokens a second and core of issuer CPU
	p99Max     = 5.0    // milliseconds, keep-alive
)

// The loads: many callers that ask again when they have their token, and tokens at a rate that leaves the machine air.
var (
	closed = load{conns: 64}
	single = load{conns: 1}
	paced  = load{conns: 32, rate: 500}
)

// none is what there is no figure for.
var none = math.NaN()

// series are the points of one target under one load, one for each repeat.
type series []point

func (s series) median(f func(point) float64) float64 {
	values := make([]float64, len(s))
	for i, p := range s {
		values[i] = f(p)
	}
	return measure.Median(values)
}

// ratio is the median of the ratios within a repeat.
func (s series) ratio(other series, f func(point) float64) float64 {
	values := make([]float64, min(len(s), len(other)))
	for i := range values {
		values[i] = f(s[i]) / f(other[i])
	}
	return measure.Median(values)
}

func cpu(p point) float64     { return p.cpu }
func perCore(p point) float64 { return 1e6 / p.cpu }
func perSec(p point) float64  { return p.perSec }
func p99(p point) float64     { return p.p99 }
func p50(p point) float64     { return p.p50 }

// rows measures every target under every load, all once, then all again.
func (b *bench) rows(ctx context.Context) ([]report.Row, error) {
	got := map[string]series{}
	key := func(t string, l load) string { return fmt.Sprint(t, l) }
	for n := range b.options.repeats {
		b.progress("repeat %d of %d", n+1, b.options.repeats)
		for _, l := range []load{closed, single, paced} {
			for _, t := range b.targets {
				p, err := b.run(ctx, t, l)
				if err != nil {
					return nil, err
				}
				got[key(t.name, l)] = append(got[key(t.name, l)], p)
			}
		}
	}
	of := func(t string, l load) series { return got[key(t, l)] }
	ours, floor, peer := of("issuer", closed), of("floor", closed), of("peer", closed)
	rows := []report.Row{
		report.Least("64 connections: tokens/s a core of issuer CPU, beside a bare signing handler", ours.median(perCore), floor.median(perCore), ours.ratio(floor, perCore), perCoreMin),
		report.Shown("64 connections: issuer CPU, us a token, beside the same", ours.median(cpu), floor.median(cpu), ours.ratio(floor, cpu)),
		report.Shown("64 connections: PostgreSQL CPU, us a token", ours.median(func(p point) float64 { return p.database }), none, none),
		report.Shown("64 connections: tokens/s, all on this machine", ours.median(perSec), floor.median(perSec), ours.ratio(floor, perSec)),
		report.Shown("64 connections: p99, ms", ours.median(p99), floor.median(p99), ours.ratio(floor, p99)),
		report.Shown("1 connection: p50, ms", of("issuer", single).median(p50), of("floor", single).median(p50), of("issuer", single).ratio(of("floor", single), p50)),
		report.Most("500/s on 32 connections, keep-alive: p99, ms", of("issuer", paced).median(p99), of("floor", paced).median(p99), of("issuer", paced).ratio(of("floor", paced), p99), p99Max),
	}
	const name = "node-oidc-provider " + peerVersion
	if peer == nil {
		return append(rows, report.Row{Name: "64 connections: tokens/s a core of server CPU, beside " + name + " in memory (" + b.peerNote + ")"}), nil
	}
	return append(rows,
		report.Shown("64 connections: tokens/s a core of server CPU, beside "+name+" in memory", ours.median(perCore), peer.median(perCore), ours.ratio(peer, perCore)),
		report.Shown("500/s on 32 connections: p99, ms, beside "+name+" in memory", of("issuer", paced).median(p99), of("peer", paced).median(p99), of("issuer", paced).ratio(of("peer", paced), p99)),
	), nil
}
