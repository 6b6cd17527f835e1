package rawhttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	pipelines     = 4 // connections at a time
	pipelineDepth = 8 // requests on the way on one of them
)

// Pipeline sends requests, several at a time, on connections that are kept open (RFC 9112 s9.3.2), and returns the answers in the order of
// the requests. Each request must have an answer with a length. Where a connection ends early, what was not answered is sent again on a
// new one; a request that gets no answer although it is alone is an Answer with status 0.
func Pipeline(t testing.TB, address string, requests []string) []Answer {
	t.Helper()
	answers := make([]Answer, len(requests))
	var sending sync.WaitGroup
	for n := range pipelines {
		sending.Go(func() {
			p := pipeline{address: address}
			defer p.close()
			for first := n * pipelineDepth; first < len(requests); first += pipelines * pipelineDepth {
				last := min(first+pipelineDepth, len(requests))
				if err := p.exchange(requests[first:last], answers[first:last]); err != nil {
					t.Errorf("requests %d to %d: %v", first, last, err)
					return
				}
			}
		})
	}
	sending.Wait()
	return answers
}

// pipeline is one connection, replaced when it ends.
type pipeline struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
}

func (p *pipeline) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

func (p *pipeline) exchange(requests []string, answers []Answer) error {
	for len(requests) > 0 {
		n, err := p.send(requests, answers)
		if err == nil && n == 0 { // answered by nothing: by what comes after it, or by itself?
			p.close()
			if n, err = p.send(requests[:1], answers[:1]); err == nil && n == 0 {
				n = 1
			}
		}
		if err != nil {
			return err
		}
		requests, answers = requests[n:], answers[n:]
	}
	return nil
}

// send returns how many of the requests were answered before the connection ended. Only silence is an error.
func (p *pipeline) send(requests []string, answers []Answer) (int, error) {
	if p.conn == nil {
		conn, err := net.DialTimeout("tcp", p.address, exchangeTimeout)
		if err != nil {
			return 0, err
		}
		p.conn, p.reader = conn, bufio.NewReader(conn)
	}
	_ = p.conn.SetDeadline(time.Now().Add(exchangeTimeout))
	_, _ = io.WriteString(p.conn, strings.Join(requests, "")) // whoever closed may have answered before
	for i := range requests {
		resp, err := http.ReadResponse(p.reader, nil)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(io.LimitReader(resp.Body, requestBytesMax))
			resp.Body.Close()
			answers[i] = Answer{resp.StatusCode, resp.Header, string(body)}
		}
		var silence net.Error
		if errors.As(err, &silence) && silence.Timeout() {
			return i, fmt.Errorf("no answer to %q in %s", requests[i], exchangeTimeout)
		}
		if err != nil {
			p.close()
			return i, nil
		}
		if resp.Close {
			p.close()
			return i + 1, nil
		}
	}
	return len(requests), nil
}
