package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
	"github.com/agentidp/agentidp/internal/localsvc"
)

const (
	envoyTokens = 1000
	closedConns = 16
	openConns   = 32
	openRate    = 1000 // a second
	envoyCPUMax = 1.0  // below Envoy's own jwt_authn and RBAC
	addedMax    = 1.0  // not more than the no-op adds
)

// The names of the variants, which are also those of listeners and clusters.
const (
	vNone, vFloor, vOurs, vJWTShipped, vJWTAmple, vPeer = "none", "noop", "extauthz", "jwt_cache_100", "jwt_cache_2000", "opa"
)

// measured is one variant in both loops.
type measured struct{ closed, open *scenario }

// throughEnvoy measures one Envoy with a listener for each variant; only one of them gets requests at a time.
func (b *bench) throughEnvoy(ctx context.Context) ([]report.Row, error) {
	b.progress("start the servers and Envoy")
	variants, err := b.variants(ctx)
	if err != nil {
		return nil, err
	}
	envoy, err := b.startEnvoy(ctx, variants)
	if err != nil {
		return nil, err
	}
	defer func() { _ = envoy.Stop() }()
	requests, err := b.requests(min(envoyTokens, b.options.tokens), scopeHeld)
	if err != nil {
		return nil, err
	}
	unscoped, err := b.requests(1, scopeOther)
	if err != nil {
		return nil, err
	}
	all := map[string]measured{}
	var scenarios []*scenario
	for _, v := range variants {
		address, err := envoy.Listener(ctx, v.name)
		if err != nil {
			return nil, err
		}
		if err := deniesAsItShould(ctx, address, unscoped[0], v.decides); err != nil {
			return nil, fmt.Errorf("%s: a token without the scope: %w", v.name, err)
		}
		pids := []int{envoy.PID()}
		if v.server != nil {
			pids = append(pids, v.server.PID())
		}
		m := measured{
			&scenario{name: v.name + ", closed loop", loader: &httpLoad{address: address, pids: pids, requests: requests, conns: closedConns}},
			&scenario{name: v.name + ", open loop", loader: &httpLoad{address: address, pids: pids, requests: requests, conns: openConns, rate: openRate}},
		}
		all[v.name] = m
		scenarios = append(scenarios, m.closed, m.open)
	}
	if err := b.interleave(ctx, scenarios); err != nil {
		return nil, err
	}
	b.details = envoyDetails(variants, all)
	return envoyRows(all), nil
}

func (b *bench) variants(ctx context.Context) ([]variant, error) {
	noop, err := b.startFloor(ctx)
	if err != nil {
		return nil, err
	}
	ours, err := b.startOurs(ctx, vOurs)
	if err != nil {
		return nil, err
	}
	variants := []variant{
		{name: vNone},
		{name: vFloor, filters: extAuthz(vFloor, true), server: noop},
		{name: vOurs, filters: extAuthz(vOurs, true), server: ours, decides: true},
		{name: vJWTShipped, filters: jwtAuthn(b.fixture.keys, jwtCacheShipped), decides: true},
		{name: vJWTAmple, filters: jwtAuthn(b.fixture.keys, jwtCacheAmple), decides: true},
	}
	if b.options.peer == "" {
		return variants, nil
	}
	opa, err := b.startPeer(ctx)
	return append(variants, variant{name: vPeer, filters: extAuthz(vPeer, false), server: opa, decides: true}), err
}

func (b *bench) startEnvoy(ctx context.Context, variants []variant) (*localsvc.Envoy, error) {
	program, err := localsvc.FindEnvoy("", b.options.envoy, ".")
	if err != nil {
		return nil, err
	}
	bootstrap := filepath.Join(b.dir, "envoy.yaml")
	if err := os.WriteFile(bootstrap, []byte(envoyConfig(variants)), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	return localsvc.StartEnvoy(ctx, localsvc.EnvoyConfig{
		Program: program, Bootstrap: bootstrap, LogFile: filepath.Join(b.dir, "envoy.log"), Args: []string{"--concurrency", "1"},
	})
}

func (b *bench) requests(n int, scope string) ([][]byte, error) {
	tokens, err := b.fixture.tokens(n, scope)
	if err != nil {
		return nil, err
	}
	requests := make([][]byte, n)
	for i, token := range tokens {
		requests[i] = newRequest(token)
	}
	return requests, nil
}

// deniesAsItShould makes sure that what is measured is a decision: whatever allows everything would be cheap.
func deniesAsItShould(ctx context.Context, address string, request []byte, denies bool) error {
	c, err := dialHTTP(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	want := http.StatusOK
	if denies {
		want = http.StatusForbidden
	}
	return c.exchange(request, want)
}

// above is how much more of something a variant has than no filter at all, repeat by repeat.
func above(s, none *scenario, of func(point) float64) *scenario {
	added := &scenario{name: s.name}
	for i, p := range s.points {
		// A figure that is not above zero would make a ratio without meaning: a microsecond is as near as this can tell.
		added.points = append(added.points, point{cpu: max(of(p)-of(none.points[i]), 1)})
	}
	return added
}

func envoyRows(all map[string]measured) []report.Row {
	ours, none, noop := all[vOurs], all[vNone], all[vFloor]
	cpuOf := func(what string) string {
		return "Envoy and server CPU, 16 connections, 1,000 tokens, against " + what + ": us"
	}
	shown := func(name string, a, b *scenario, of func(point) float64) report.Row {
		o, t, ratio := compare(a, b, of)
		return report.Shown(name, o, t, ratio)
	}
	rows := []report.Row{
		compared(cpuOf("jwt_authn + RBAC, its cache as shipped (100)"), ours.closed, all[vJWTShipped].closed, cpu, envoyCPUMax),
		compared(cpuOf("jwt_authn + RBAC, its cache large enough (2,000)"), ours.closed, all[vJWTAmple].closed, cpu, envoyCPUMax),
		shown(cpuOf("the no-op"), ours.closed, noop.closed, cpu),
		shown(cpuOf("no filter"), ours.closed, none.closed, cpu),
		compared("added p50 at 1,000/s, against the no-op: us", above(ours.open, none.open, p50), above(noop.open, none.open, p50), cpu, addedMax),
		shown("added p99 at 1,000/s, against the no-op: us", above(ours.open, none.open, p99), above(noop.open, none.open, p99), cpu),
		shown("Envoy and server CPU at 1,000/s, against jwt_authn + RBAC, its cache as shipped: us", ours.open, all[vJWTShipped].open, cpu),
		shown("p99, 16 connections, against the no-op: us", ours.closed, noop.closed, p99),
	}
	if opa, given := all[vPeer]; given {
		return append(rows, shown(cpuOf("opa-envoy-plugin"), ours.closed, opa.closed, cpu),
			shown("added p50 at 1,000/s, against opa-envoy-plugin: us", above(ours.open, none.open, p50), above(opa.open, none.open, p50), cpu))
	}
	const why = "opa-envoy-plugin (not given: no package ships it, set OPA_ENVOY)"
	return append(rows, report.Missing(cpuOf(why)), report.Missing("added p50 at 1,000/s, against "+why+": us"))
}

// envoyDetails is every variant with all its figures.
func envoyDetails(variants []variant, all map[string]measured) string {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "filter\t16 conns: req/s\tp50 ms\tp99 ms\tEnvoy us\tserver us\tsum us\t1,000/s: p50 ms\tp99 ms\tsum us")
	for _, v := range variants {
		m := all[v.name]
		median := func(s *scenario, of func(point) float64) float64 { return measure.Median(s.figures(of)) }
		part := func(i int) func(point) float64 {
			return func(p point) float64 {
				if i < len(p.parts) {
					return p.parts[i]
				}
				return 0
			}
		}
		ms := float64(time.Millisecond / time.Microsecond)
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.0f\n", v.name,
			median(m.closed, perSec), median(m.closed, p50)/ms, median(m.closed, p99)/ms, median(m.closed, part(0)), median(m.closed, part(1)), median(m.closed, cpu),
			median(m.open, p50)/ms, median(m.open, p99)/ms, median(m.open, cpu))
	}
	t.Flush()
	return text.String()
}
