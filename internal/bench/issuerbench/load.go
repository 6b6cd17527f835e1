package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
)

const (
	callTimeout = 30 * time.Second
	bodyMax     = 64 << 10
)

// conn is a keep-alive connection over TLS and a client for one kind of answer: a real client would use more of the machine than what is measured.
type conn struct {
	*tls.Conn
	in   *bufio.Reader
	body []byte
}

func (b *bench) dial(ctx context.Context, address string) (*conn, error) {
	roots, err := b.roots()
	if err != nil {
		return nil, err
	}
	c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}}}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c.(*tls.Conn), in: bufio.NewReader(c)}, nil
}

// exchange sends a request and reads its answer, which must be a token: 200, and three parts.
func (c *conn) exchange(request []byte) error {
	if err := c.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	status, length, chunked, err := c.head()
	if err != nil {
		return err
	}
	if chunked || length > bodyMax {
		return errors.New("an answer of a form that no token endpoint gives")
	}
	c.body = slices.Grow(c.body[:0], length)[:length]
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return err
	}
	if text := string(c.body); status != "200" || !strings.Contains(text, `"access_token":"eyJ`) || strings.Count(text, ".") < 2 {
		return fmt.Errorf("want a token, got %s: %.200s", status, text)
	}
	return nil
}

func (c *conn) head() (status string, length int, chunked bool, err error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", 0, false, err
	}
	if _, after, found := strings.Cut(line, " "); found && len(after) > 3 {
		status = after[:3]
	}
	for {
		if line, err = c.in.ReadString('\n'); err != nil || len(line) <= len("\r\n") {
			return status, length, chunked, err
		}
		name, value, _ := strings.Cut(line, ":")
		switch {
		case strings.EqualFold(name, "content-length"):
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return "", 0, false, err
			}
		case strings.EqualFold(name, "transfer-encoding"):
			chunked = true
		}
	}
}

// load is one way to ask a target.
type load struct {
	conns int
	rate  float64 // arrivals a second, in an open loop; 0 for a closed one
}

// point is one measurement.
type point struct {
	perSec   float64
	cpu      float64 // of the target, microseconds a token
	database float64 // of PostgreSQL
	p50, p99 float64 // of the client, milliseconds
}

// run warms up and measures.
func (b *bench) run(ctx context.Context, t *target, l load) (point, error) {
	conns := make([]*conn, l.conns)
	for i := range conns {
		c, err := b.dial(ctx, t.address)
		if err != nil {
			return point{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var sent atomic.Int64
	if _, err := t.phase(ctx, conns, &sent, b.options.span/4, load{}); err != nil {
		return point{}, err
	}
	before, err := b.used(t)
	if err != nil {
		return point{}, err
	}
	began := time.Now()
	latencies, err := t.phase(ctx, conns, &sent, b.options.span, l)
	if err != nil {
		return point{}, err
	}
	elapsed := time.Since(began)
	after, err := b.used(t)
	if err != nil {
		return point{}, err
	}
	if len(latencies) == 0 {
		return point{}, errors.New("no request was answered")
	}
	n := float64(len(latencies))
	foreign := after.machine - before.machine - (after.client - before.client) - (after.server - before.server) - (after.database - before.database)
	b.shares = append(b.shares, max(0, float64(foreign)/float64(elapsed)/float64(runtime.NumCPU())))
	slices.Sort(latencies)
	return point{
		perSec: n / elapsed.Seconds(), cpu: micros(after.server-before.server) / n, database: micros(after.database-before.database) / n,
		p50: micros(measure.Percentile(latencies, 0.5)) / 1000, p99: micros(measure.Percentile(latencies, 0.99)) / 1000,
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// phase sends for the span. In an open loop request n is due at n/rate, and its time counts from then when every connection was busy.
func (t *target) phase(ctx context.Context, conns []*conn, sent *atomic.Int64, span time.Duration, l load) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began, first := time.Now(), sent.Load()
	taken := make([][]time.Duration, len(conns))
	var done sync.WaitGroup
	for w, c := range conns {
		done.Go(func() {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for ctx.Err() == nil {
				n := sent.Add(1) - 1
				due := time.Now()
				if l.rate > 0 {
					due = began.Add(time.Duration(float64(n-first) / l.rate * float64(time.Second)))
				}
				if due.Sub(began) >= span {
					return
				}
				if wait := time.Until(due); wait > 0 {
					timer.Reset(wait)
					<-timer.C
					due = time.Now() // a timer that fires late on an idle connection is no fault of the server
				}
				if err := c.exchange(t.requests[n%int64(len(t.requests))]); err != nil {
					cancel(fmt.Errorf("%s, request %d: %w", t.name, n, err))
					return
				}
				taken[w] = append(taken[w], time.Since(due))
			}
		})
	}
	done.Wait()
	return slices.Concat(taken...), context.Cause(ctx)
}

// usage is what the server, PostgreSQL, this process and the whole machine have used.
type usage struct{ server, database, client, machine time.Duration }

func (b *bench) used(t *target) (u usage, err error) {
	if u.server, err = measure.CPU(t.pid); err != nil {
		return u, err
	}
	if u.client, err = measure.CPU(os.Getpid()); err != nil {
		return u, err
	}
	if u.database, err = measure.Family(b.postgres.PID()); err != nil {
		return u, err
	}
	u.machine, err = measure.Busy()
	return u, err
}
