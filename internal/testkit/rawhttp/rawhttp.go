// Package rawhttp is a client and a service for tests of what stands between them. Both work on bytes: nothing is normalised, joined,
// sorted or refused by a library on the way.
package rawhttp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	exchangeTimeout = 10 * time.Second
	requestBytesMax = 1 << 20
)

// Answer is what came back to the client.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Send writes raw bytes on a connection of its own and reads one response; the connection is cut when that does not end in 10 s. A
// connection that is closed without a response is an Answer with status 0.
func Send(t testing.TB, address, raw string) Answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, exchangeTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return Answer{}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, requestBytesMax))
	return Answer{resp.StatusCode, resp.Header, string(body)}
}

// Get sends a GET of target with more header lines, each "name: value" as it shall arrive.
func Get(t testing.TB, address, target string, headers ...string) Answer {
	t.Helper()
	lines := append([]string{"GET " + target + " HTTP/1.1", "Host: service.example", "Connection: close"}, headers...)
	return Send(t, address, strings.Join(lines, "\r\n")+"\r\n\r\n")
}

// Service answers every request with 200 and keeps the last one as it arrived.
type Service struct {
	Address string

	mu      sync.Mutex
	last    string
	reached int
	down    bool
	answer  string
}

const answerOK = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// Serve starts a service on loopback; it ends with the test.
func Serve(t testing.TB) *Service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{Address: l.Addr().String(), answer: answerOK}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return s
}

func (s *Service) serve(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	buf, got := make([]byte, 64<<10), []byte(nil)
	for !whole(got) && len(got) < requestBytesMax {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		got = append(got, buf[:n]...)
	}
	s.mu.Lock()
	s.last = string(got)
	s.reached++
	answer := s.answer
	s.mu.Unlock()
	_, _ = io.WriteString(conn, answer)
}

// whole reports whether a request has come with the body it announces, trailers included.
func whole(got []byte) bool {
	head, body, ended := strings.Cut(string(got), "\r\n\r\n")
	if !ended {
		return false
	}
	if values := values(head, "transfer-encoding"); len(values) > 0 { // Envoy sends no other than chunked
		return body == "0\r\n\r\n" || strings.HasSuffix(body, "\r\n\r\n") && (strings.HasPrefix(body, "0\r\n") || strings.Contains(body, "\r\n0\r\n"))
	}
	if values := values(head, "content-length"); len(values) > 0 {
		length, err := strconv.Atoi(values[0])
		return err != nil || len(body) >= length
	}
	return true
}

// SetDown makes the service close connections without an answer, or serve again.
func (s *Service) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// SetAnswer makes the service answer with these bytes, and close.
func (s *Service) SetAnswer(raw string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = raw
}

// Count is how many requests arrived.
func (s *Service) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// Got is the last request as it arrived: request line, header, body, trailers, and whatever came in the same turn.
func (s *Service) Got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Target is the second word of the last request line.
func (s *Service) Target() string {
	words := strings.SplitN(s.Got(), " ", 3)
	if len(words) < 3 {
		return ""
	}
	return words[1]
}

// Has reports whether the last request has the header line; names are in lower case, as Envoy sends them.
func (s *Service) Has(name, value string) bool {
	return strings.Contains(s.Got(), fmt.Sprintf("\r\n%s: %s\r\n", name, value))
}

// Values are the values of a header of the last request, in any spelling of its name.
func (s *Service) Values(name string) []string {
	head, _, _ := strings.Cut(s.Got(), "\r\n\r\n")
	return values(head, name)
}

func values(head, name string) []string {
	var out []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			out = append(out, strings.TrimSpace(value))
		}
	}
	return out
}
