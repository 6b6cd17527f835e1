package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const shownMax = 200 // bytes of an unexpected answer

// httpLoad sends requests with ready-made bytes over connections that stay open. It is an HTTP/1.1 client for one kind of
// answer, because a real one would use more of the machine than what is measured.
type httpLoad struct {
	address  string
	pids     []int
	requests [][]byte // sent in turn
	conns    int
	rate     float64 // arrivals a second, in an open loop; 0 for a closed one
}

// newRequest is a GET with nine headers.
func newRequest(token string) []byte {
	return []byte("GET /orders/42?x=1 HTTP/1.1\r\nhost: orders.shop.example\r\naccept: application/json\r\naccept-encoding: gzip, br\r\n" +
		"authorization: Bearer " + token + "\r\nuser-agent: order-reader/2.3 (linux; x86_64)\r\ncache-control: no-cache\r\n" +
		"x-client-version: 2.3.1\r\naccept-language: en\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n")
}

type httpConn struct {
	net.Conn
	in *bufio.Reader
}

func dialHTTP(ctx context.Context, address string) (*httpConn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &httpConn{c, bufio.NewReader(c)}, nil
}

func (l *httpLoad) run(ctx context.Context, warm, span time.Duration) (point, error) {
	conns := make([]*httpConn, l.conns)
	for i := range conns {
		c, err := dialHTTP(ctx, l.address)
		if err != nil {
			return point{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var sent atomic.Int64
	if _, err := l.phase(ctx, conns, &sent, warm, len(l.requests), 0); err != nil {
		return point{}, err
	}
	var latencies []time.Duration
	p, err := observe(l.pids, func() (int, error) {
		var err error
		latencies, err = l.phase(ctx, conns, &sent, span, 1, l.rate)
		return len(latencies), err
	})
	p.p50, p.p99 = percentiles(latencies)
	return p, err
}

// phase sends for the span, and on until count requests have been sent. In an open loop request n is due at n/rate: its
// time counts from then, also when every connection was busy; but not from a timer that fired late on an idle one, which is
// no fault of the server.
func (l *httpLoad) phase(ctx context.Context, conns []*httpConn, sent *atomic.Int64, span time.Duration, count int, rate float64) ([]time.Duration, error) {
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
				n := sent.Add(1) - 1 - first
				start := time.Now()
				due := start
				if rate > 0 {
					due = began.Add(time.Duration(float64(n) / rate * float64(time.Second)))
				}
				if n >= int64(count) && due.Sub(began) >= span {
					return
				}
				if wait := due.Sub(start); wait > 0 {
					timer.Reset(wait)
					<-timer.C
					due = time.Now()
				}
				if err := c.exchange(l.requests[(first+n)%int64(len(l.requests))], http.StatusOK); err != nil {
					cancel(fmt.Errorf("request %d: %w", n, err))
					return
				}
				taken[w] = append(taken[w], time.Since(due))
			}
		})
	}
	done.Wait()
	return slices.Concat(taken...), context.Cause(ctx)
}

// exchange sends a request and reads its answer, which must have the status.
func (c *httpConn) exchange(request []byte, want int) error {
	if err := c.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	var status, length int
	if _, after, found := strings.Cut(string(line), " "); found && len(after) > 3 {
		status, _ = strconv.Atoi(after[:3]) // 0 is no status anybody wants
	}
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) == len("\r\n") {
			break
		}
		if name, value, found := strings.Cut(string(line), ":"); found && strings.EqualFold(name, "content-length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
	if status != want {
		body := make([]byte, min(length, shownMax))
		_, _ = io.ReadFull(c.in, body)
		return fmt.Errorf("want status %d, got %d: %s", want, status, body)
	}
	_, err = c.in.Discard(length)
	return err
}
