package main

import (
	"context"
	"fmt"
	"os"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
)

// What a sidecar may cost each pod. MB is 1,000,000 bytes.
const (
	idleMax   = 40.0 // MB
	loadedMax = 90.0 // MB
	binaryMax = 31.0 // MB
	startMax  = 300  // ms
	megabyte  = 1e6
)

// sidecar measures what one costs beside the requests it answers.
func (b *bench) sidecar(ctx context.Context) ([]report.Row, error) {
	b.progress("memory, start and size")
	info, err := os.Stat(b.options.extauthz)
	if err != nil {
		return nil, err
	}
	idle, loaded, err := b.memory(ctx)
	if err != nil {
		return nil, err
	}
	ready, err := b.readyFromDisk(ctx)
	if err != nil {
		return nil, err
	}
	return []report.Row{
		report.Absolute("idle, ready and one check answered: RSS, MB", idle, idleMax),
		report.Absolute(fmt.Sprintf("%d tokens remembered, 16 callers: RSS, MB", b.options.tokens), loaded, loadedMax),
		report.Absolute("bin/extauthz as make build ships it: MB", float64(info.Size())/megabyte, binaryMax),
		report.Absolute("from its start, issuer down, to the first allowed check: ms", ready, startMax),
	}, nil
}

// memory is that of a fresh process, before and after it has seen every token for a while.
func (b *bench) memory(ctx context.Context) (idle, loaded float64, err error) {
	s, err := b.startOurs(ctx, "memory")
	if err != nil {
		return 0, 0, err
	}
	if idle, err = megabytes(s.PID()); err != nil {
		return 0, 0, err
	}
	many, err := b.messages(b.options.tokens, scopeHeld)
	if err != nil {
		return 0, 0, err
	}
	l := load{socket: s.socket, pids: []int{s.PID()}, messages: many, want: allowedAs, callers: 16, conns: 2}
	if _, err = b.point(ctx, &l); err != nil {
		return 0, 0, err
	}
	if loaded, err = megabytes(s.PID()); err != nil {
		return 0, 0, err
	}
	return idle, loaded, s.Stop()
}

func megabytes(pid int) (float64, error) {
	rss, err := measure.RSS(pid)
	return float64(rss) / megabyte, err
}

// readyFromDisk starts it again and again without its issuer: keys and revocation list are the last good ones.
func (b *bench) readyFromDisk(ctx context.Context) (milliseconds float64, err error) {
	first, err := b.startOurs(ctx, "ready")
	if err != nil {
		return 0, err
	}
	if err := first.Stop(); err != nil {
		return 0, err
	}
	b.fixture.close() // no server that runs needs it any more: what it said is good for 15 minutes
	var times []float64
	for range b.options.repeats {
		again, err := b.startOurs(ctx, "ready")
		if err != nil {
			return 0, err
		}
		times = append(times, micros(again.ready)/1000)
		if err := again.Stop(); err != nil {
			return 0, err
		}
	}
	return measure.Median(times), nil
}
