// Package echo is the demo service: it answers any request with the request it saw, as JSON. What stands in front of it is visible in the answer, so a claim
// about the edge ("the client's x-agent-id never arrives") can be checked instead of believed.
package echo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	bodyBytesMax  = 64 << 10
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
)

// Request is what the service saw.
type Request struct {
	Method string `json:"method"`
	Path   string `json:"path"` // as it came, not decoded
	Query  string `json:"query"`
	// Headers are [name, value] pairs, one for each time a header came: names in lower case and sorted, values of one name in order.
	Headers       [][2]string `json:"headers"`
	Body          string      `json:"body"`                    // the first 64 KiB; empty when it is not UTF-8
	BodyBytes     []byte      `json:"bodyBase64,omitempty"`    // the same, when it is not UTF-8
	BodyTruncated bool        `json:"bodyTruncated,omitempty"` // there was more
}

// Values lists the values of a header, named in lower case.
func (r *Request) Values(name string) []string {
	var values []string
	for _, h := range r.Headers {
		if h[0] == name {
			values = append(values, h[1])
		}
	}
	return values
}

// Service is the handler. The zero value is ready.
type Service struct{ requests atomic.Int64 }

// Requests counts what has arrived: a refusal at the edge leaves it unchanged.
func (s *Service) Requests() int64 { return s.requests.Load() }

// ServeHTTP answers with the request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyBytesMax+1))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	seen := Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Headers: headers(r)}
	if len(body) > bodyBytesMax {
		body, seen.BodyTruncated = body[:bodyBytesMax], true
	}
	if utf8.Valid(body) {
		seen.Body = string(body)
	} else {
		seen.BodyBytes = body
	}
	answer, err := seen.print()
	if err != nil { // a struct of strings always marshals
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // the client is gone, or not
}

// pairSpace is what json.MarshalIndent puts inside a header pair.
var pairSpace = regexp.MustCompile(`\[\n {6}(".*"),\n {6}(".*")\n {4}\]`)

// print makes JSON for people: one line for each header.
func (r *Request) print() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(pairSpace.ReplaceAll(text, []byte("[$1, $2]")), '\n'), nil
}

func headers(r *http.Request) [][2]string {
	pairs := [][2]string{{"host", r.Host}} // net/http takes it out of the headers
	for name, values := range r.Header {
		for _, value := range values {
			pairs = append(pairs, [2]string{strings.ToLower(name), value})
		}
	}
	slices.SortStableFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return pairs
}

// Server is a listening Service.
type Server struct {
	*Service
	Address string // host:port
	http    *http.Server
	done    chan error
}

// Listen starts the service on a loopback port the kernel chooses.
func Listen() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("demo service: %w", err)
	}
	service := &Service{}
	s := &Server{
		Service: service, Address: l.Addr().String(), done: make(chan error, 1),
		http: &http.Server{Handler: service, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout},
	}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
}

// Stop lets requests in flight finish until ctx ends, then cuts them off.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}
