package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/agentidp/agentidp/internal/bench/report"
)

// What good requests must get beside a flood (issue "extauthz complete", bad input; E10).
const (
	keptMin       = 0.9
	floodRateMin  = 50_000.0 // a second, of bad requests
	floodP99Max   = 2.0
	cacheBytes    = 64 << 20 // of remembered tokens, as extauthz comes
	floodGrowth   = 1.1 * cacheBytes / megabyte
	inTime        = 250 * time.Millisecond // as long as Envoy waits
	goodRate      = 500.0                  // requests a second, in an open loop
	goodTokens    = 500
	goodCallers   = 64
	floodCallers  = 256 // in flight, in a closed loop: as fast as they are answered
	floodConns    = 4
	floodVariants = 4096
	readsEvery    = 30 * time.Second // of an issuer's keys, at most
)

// goodLoad is a flow of requests that does not wait for answers, beside a flood or alone.
type goodLoad struct {
	bench    *bench
	server   *server
	messages []message
	flood    *floodLoad // nil: alone
	kept     []float64  // share of the requests that were allowed in time, for each point
	rates    []float64  // of the flood
}

func (g *goodLoad) run(ctx context.Context, _, span time.Duration) (point, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	bad := make(chan error, 1)
	began := time.Now()
	if g.flood != nil {
		g.flood.sent.Store(0)
		go func() { bad <- g.flood.run(ctx, g.server.socket) }()
	}
	var latencies []time.Duration
	p, err := observe([]int{g.server.PID()}, func() (int, error) {
		due, allowed, err := g.phase(ctx, span)
		latencies = allowed
		in := 0
		for _, l := range allowed {
			if l <= inTime {
				in++
			}
		}
		g.kept = append(g.kept, float64(in)/float64(due))
		return due, err
	})
	if g.flood != nil {
		g.rates = append(g.rates, float64(g.flood.sent.Load())/time.Since(began).Seconds())
		stop()
		err = errors.Join(err, <-bad)
	}
	p.p50, p.p99 = percentiles(latencies)
	return p, err
}

// phase sends request n at n/goodRate, and returns how long the allowed ones took from then on.
func (g *goodLoad) phase(ctx context.Context, span time.Duration) (due int, allowed []time.Duration, err error) {
	c, err := connect(g.server.socket)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	due = max(1, int(span.Seconds()*goodRate))
	var next atomic.Int64
	var mu sync.Mutex
	var callers sync.WaitGroup
	start := time.Now()
	for range goodCallers {
		callers.Go(func() {
			var question, answer []byte
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				n := next.Add(1) - 1
				if n >= int64(due) {
					return
				}
				at := start.Add(time.Duration(float64(n) / goodRate * float64(time.Second)))
				timer.Reset(time.Until(at))
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
				}
				question = g.messages[n%int64(len(g.messages))].write(question, uint64(n))
				call, cancel := context.WithTimeout(ctx, callTimeout)
				failed := ask(call, c, &question, &answer)
				cancel()
				if failed == nil && allowedAs.check(answer) == nil {
					mu.Lock()
					allowed = append(allowed, time.Since(at))
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	return due, allowed, ctx.Err()
}

// floodLoad sends bad requests until it is stopped, none of them twice.
type floodLoad struct {
	name     string
	messages []forged
	sent     atomic.Int64
}

// forged is a message whose signature is made another one with each request.
type forged struct {
	message
	at int // in the message, of eight characters in the middle of the signature
}

func newForged(authorization, from string) (forged, error) {
	m, err := newMessage(authorization, rawHeaders)
	if err != nil {
		return forged{}, err
	}
	const source = "10.4.17.33"
	if len(from) != len(source) {
		return forged{}, fmt.Errorf("%q is not as long as %q", from, source)
	}
	m.wire = bytes.Replace(m.wire, []byte(source), []byte(from), -1)
	end := bytes.Index(m.wire, []byte(authorization)) + len(authorization)
	return forged{m, end - 40}, nil
}

func (f *forged) write(buffer []byte, id uint64) []byte {
	buffer = f.message.write(buffer, id)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range 8 {
		buffer[f.at+i] = letters[id>>(6*i)&63]
	}
	return buffer
}

func (f *floodLoad) run(ctx context.Context, socket string) error {
	conns := make([]*grpc.ClientConn, floodConns)
	for i := range conns {
		c, err := connect(socket)
		if err != nil {
			return err
		}
		defer c.Close()
		conns[i] = c
	}
	var ids atomic.Uint64
	ids.Store(uint64(time.Now().UnixNano())) // no token of a flood before
	failures := make([]error, floodCallers)
	var callers sync.WaitGroup
	for w := range floodCallers {
		callers.Go(func() {
			var question, answer []byte
			for ctx.Err() == nil {
				id := ids.Add(1)
				question = f.messages[id%uint64(len(f.messages))].write(question, id)
				call, cancel := context.WithTimeout(ctx, callTimeout)
				err := ask(call, conns[w%len(conns)], &question, &answer)
				cancel()
				switch {
				case ctx.Err() != nil:
				case err != nil:
					failures[w] = fmt.Errorf("flood: %w", err)
					return
				case denied.check(answer) != nil:
					failures[w] = errors.New("flood: a bad token was accepted")
					return
				default:
					f.sent.Add(1)
				}
			}
		})
	}
	callers.Wait()
	return errors.Join(failures...)
}

// floods are the rows of E10.
func (b *bench) floods() ([]*floodLoad, error) {
	good, err := b.fixture.tokens(1, scopeHeld)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(good[0], ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return nil, err
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	kid := b.fixture.signer.ID()
	var floods []*floodLoad
	for _, f := range []struct {
		name string
		make func(n int) (header, claims []byte, from string)
	}{
		{"forged tokens of one source", func(int) ([]byte, []byte, string) { return header, claims, "198.51.1.1" }},
		{"forged tokens of 4096 sources", func(n int) ([]byte, []byte, string) {
			return header, claims, fmt.Sprintf("9.%02d.%02d.%02d", 10+n/1024, 10+n/32%32, 10+n%32)
		}},
		{"unknown keys", func(n int) ([]byte, []byte, string) {
			return bytes.Replace(header, []byte(kid), fmt.Appendf(nil, "unknown-%d", n), 1), claims, "198.51.1.1"
		}},
		{"unknown issuers", func(n int) ([]byte, []byte, string) {
			return header, bytes.Replace(claims, []byte(issuerName), fmt.Appendf(nil, "https://unknown-%d.example", n), 1), "198.51.1.1"
		}},
	} {
		load := &floodLoad{name: f.name, messages: make([]forged, floodVariants)}
		for n := range load.messages {
			header, claims, from := f.make(n)
			if load.messages[n], err = newForged("Bearer "+base64url(header)+"."+base64url(claims)+"."+parts[2], from); err != nil {
				return nil, err
			}
		}
		floods = append(floods, load)
	}
	return floods, nil
}

// flood measures good requests alone, and beside each kind of flood.
func (b *bench) flood(ctx context.Context) ([]report.Row, error) {
	s, err := b.startOurs(ctx, "flood")
	if err != nil {
		return nil, err
	}
	messages, err := b.messages(goodTokens, scopeHeld)
	if err != nil {
		return nil, err
	}
	floods, err := b.floods()
	if err != nil {
		return nil, err
	}
	warm := load{socket: s.socket, pids: []int{s.PID()}, messages: messages, want: allowedAs, callers: 16, conns: 2}
	if _, err := b.point(ctx, &warm); err != nil {
		return nil, err
	}
	alone := &goodLoad{bench: b, server: s, messages: messages}
	scenarios, beside := []*scenario{{name: "good requests alone", loader: alone}}, []*goodLoad{}
	for _, f := range floods {
		g := &goodLoad{bench: b, server: s, messages: messages, flood: f}
		beside = append(beside, g)
		scenarios = append(scenarios, &scenario{name: "beside " + f.name, loader: g})
	}
	before, err := megabytes(s.PID())
	if err != nil {
		return nil, err
	}
	reads, began := b.fixture.reads.Load(), time.Now()
	if err := b.interleave(ctx, scenarios); err != nil {
		return nil, err
	}
	after, err := megabytes(s.PID())
	if err != nil {
		return nil, err
	}
	rows := floodRows(alone, beside, scenarios)
	allowedReads := math.Ceil(time.Since(began).Seconds() / readsEvery.Seconds())
	return append(rows,
		report.Absolute("growth of memory during all floods: RSS, MB", after-before, floodGrowth),
		report.Absolute("reads of the issuer's keys in 30 s of flood", float64(b.fixture.reads.Load()-reads)/allowedReads, 1)), nil
}
