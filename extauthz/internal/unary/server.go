package unary

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Call is one call as its method sees it.
type Call struct {
	// Message is what was sent, good until the method returns from Quick. It is nil when there is none to read: see Fault.
	Message []byte
	Fault   Fault
	// Deadline is when the caller gives up (grpc-timeout); zero when it said nothing.
	Deadline time.Time
	// TraceParent and TraceState are W3C trace context, as they came; empty when they did not.
	TraceParent, TraceState string
}

// Fault is why a Call has no message.
type Fault int

const (
	FaultNone      Fault = iota
	FaultTooLarge        // larger than Config.MessageBytesMax
	FaultMalformed       // not one whole uncompressed message
	FaultOverload        // more is being received than Config.ReceivingBytesMax
)

// Later is the rest of a call that takes work. It runs on another goroutine; ctx ends at the deadline, when the caller
// cancels and when the connection breaks.
type Later func(ctx context.Context) (answer []byte, code Code)

// Method answers calls. It must not wait and must not keep c; when the answer takes work it returns a Later instead. The
// answer is not written to until it was sent, and with a code other than OK there is none.
type Method func(c *Call) (answer []byte, code Code, later Later)

// Code is the status of a call (gRPC status codes).
type Code uint32

const (
	OK            Code = 0
	NotFound      Code = 5
	Unimplemented Code = 12
	Internal      Code = 13
	Unavailable   Code = 14
)

// Config of a Server. All of it is required.
type Config struct {
	Methods           map[string]Method // by :path
	MessageBytesMax   int               // of a message; larger ones are not received
	ReceivingBytesMax int64             // that all messages which are not complete yet take, over all connections
	StreamsMax        int               // calls in flight on a connection
	ConnectionsMax    int
	HeaderBytesMax    int                                        // of the headers of a call, as RFC 9113 s6.5.2 counts
	HandshakeTimeout  time.Duration                              // from the connection to its first SETTINGS
	ReceiveTimeout    time.Duration                              // from the headers of a call to the end of its message
	IdlePing          time.Duration                              // a connection that was silent so long is asked whether it is there
	PingTimeout       time.Duration                              // it must answer in, and take what is written to it in
	Workers           int                                        // goroutines that keep their grown stacks for Later; more are started when needed
	Panicked          func(path string, value any, stack []byte) // path is "" when it was the protocol and no method
}

// Server serves its methods on any number of listeners.
type Server struct {
	config    Config
	jobs      chan job
	receiving atomic.Int64 // bytes of incomplete messages

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	draining  bool
	stopped   chan struct{} // closed when nothing may go on
	quiet     chan struct{} // closed when draining and the last connection is gone
	running   sync.WaitGroup
}

// ErrStopped is what Serve returns after Shutdown or Stop.
var ErrStopped = errors.New("unary: the server was stopped")

// NewServer returns a server. Stop it, also when it never served.
func NewServer(c Config) *Server {
	s := &Server{
		config: c, jobs: make(chan job), listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
		stopped: make(chan struct{}), quiet: make(chan struct{}),
	}
	for range c.Workers {
		s.running.Go(s.work)
	}
	s.running.Go(s.watch)
	return s
}

// Serve answers on l until the server is stopped, and closes it. Errors of single connections are theirs.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return ErrStopped
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.begin(nc)
			continue
		case s.isDraining():
			return ErrStopped
		case errors.Is(err, net.ErrClosed):
			return err
		}
		// Out of file descriptors, most likely: others may give some back.
		pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
		select {
		case <-time.After(pause):
		case <-s.stopped:
			return ErrStopped
		}
	}
}

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// begin serves a connection, unless there are too many.
func (s *Server) begin(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	refused := s.draining || len(s.conns) >= s.config.ConnectionsMax
	if !refused {
		s.conns[c] = struct{}{}
		s.running.Add(1)
	}
	s.mu.Unlock()
	if refused {
		nc.Close()
		return
	}
	go func() {
		defer s.running.Done()
		defer s.ended(c)
		defer func() { // a fault in the protocol ends its connection, which is closed by now, and no other
			if p := recover(); p != nil {
				s.config.Panicked("", p, debug.Stack())
			}
		}()
		c.serve()
	}()
}

func (s *Server) ended(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.draining && len(s.conns) == 0 {
		s.closeQuiet()
	}
}

func (s *Server) closeQuiet() {
	select {
	case <-s.quiet:
	default:
		close(s.quiet)
	}
}

// Shutdown lets calls in flight end: connections are told to go away (s6.8), twice, so that no call a client began in good
// faith is lost. It returns when the last connection is gone, or when ctx ends; then it breaks those that are left.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	if len(conns) == 0 {
		s.closeQuiet()
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.drain()
	}
	select {
	case <-s.quiet:
	case <-ctx.Done():
	}
	s.Stop()
}

// Stop breaks everything off and returns when nothing runs any more. It may be called more than once.
func (s *Server) Stop() {
	s.mu.Lock()
	s.draining = true
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.breakOff()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// watch looks for connections that are silent or do not take what is written.
func (s *Server) watch() {
	tick := time.NewTicker(min(s.config.IdlePing, s.config.PingTimeout) / 2)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case now := <-tick.C:
			s.mu.Lock()
			conns := make([]*conn, 0, len(s.conns))
			for c := range s.conns {
				conns = append(conns, c)
			}
			s.mu.Unlock()
			for _, c := range conns {
				c.watch(now)
			}
		}
	}
}
