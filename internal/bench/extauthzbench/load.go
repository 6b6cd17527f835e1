package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/agentidp/agentidp/internal/bench/measure"
)

const decodeEvery = 64 // one answer in so many is decoded and looked at as a whole

// load is a closed loop: each caller asks again when it has its answer.
type load struct {
	socket   string
	pids     []int // whose CPU counts
	messages []message
	want     outcome
	callers  int
	conns    int
	once     bool // each message is sent once, and nothing before: cold tokens
}

// point is one measurement.
type point struct {
	requests int
	perSec   float64
	cpu      float64       // of the servers, microseconds a request
	parts    []float64     // the same for each of them
	p50, p99 time.Duration // of the client
	foreign  float64       // share of the machine others used meanwhile
}

// run warms up, with every message at least once, and measures.
func (l *load) run(ctx context.Context, warm, span time.Duration) (point, error) {
	conns := make([]*grpc.ClientConn, l.conns)
	for i := range conns {
		c, err := connect(l.socket)
		if err != nil {
			return point{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var sent atomic.Uint64
	count := 1
	if l.once {
		span, count = 0, len(l.messages)
	} else if _, err := l.phase(ctx, conns, &sent, warm, len(l.messages)); err != nil {
		return point{}, err
	}
	var latencies []time.Duration
	p, err := observe(l.pids, func() (requests int, err error) {
		latencies, err = l.phase(ctx, conns, &sent, span, count)
		return len(latencies), err
	})
	if err != nil {
		return point{}, err
	}
	p.p50, p.p99 = percentiles(latencies)
	return p, nil
}

func percentiles(latencies []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(latencies)
	return measure.Percentile(latencies, 0.5), measure.Percentile(latencies, 0.99)
}

// phase lets the callers ask for the span, and on until count requests have been sent. It returns all latencies.
func (l *load) phase(ctx context.Context, conns []*grpc.ClientConn, sent *atomic.Uint64, span time.Duration, count int) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first := sent.Load()
	last := first + uint64(count)
	end := time.Now().Add(span)
	taken := make([][]time.Duration, l.callers)
	var done sync.WaitGroup
	for w := range l.callers {
		done.Go(func() {
			var question, answer []byte
			for ctx.Err() == nil {
				id := sent.Add(1) - 1
				start := time.Now()
				if id >= last && !start.Before(end) {
					return
				}
				question = l.messages[id%uint64(len(l.messages))].write(question, id)
				if err := l.one(ctx, conns[w%len(conns)], id, &question, &answer); err != nil {
					cancel(fmt.Errorf("request %d: %w", id, err))
					return
				}
				taken[w] = append(taken[w], time.Since(start))
			}
		})
	}
	done.Wait()
	return slices.Concat(taken...), context.Cause(ctx)
}

// one asks once, and fails when the answer is not what it has to be.
func (l *load) one(ctx context.Context, c *grpc.ClientConn, id uint64, question, answer *[]byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := ask(ctx, c, question, answer); err != nil {
		return err
	}
	if err := l.want.check(*answer); err != nil {
		return err
	}
	if id%decodeEvery == 0 {
		return l.want.checkWhole(*answer)
	}
	return nil
}
