package unary

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"
)

// refusal is why a stream gets no method.
type refusal int

const (
	refusalNone    refusal = iota
	refusalMethod          // not POST
	refusalType            // not gRPC
	refusalUnknown         // no such method
)

// Header blocks that are sent, as literals without indexing (RFC 7541 s6.2.2): nothing has to be remembered on either side.
var (
	blockOK      = literal([]byte{0x88}, nameContentType, "application/grpc") // 0x88 is ":status: 200"
	blockTrailer = appendStatus(nil, OK, "")
	blockMethod  = literal(literal(nil, nameStatus, "405"), nameContentType, "text/plain")
	blockType    = literal(literal(nil, nameStatus, "415"), nameContentType, "text/plain")
	notGRPC      = []byte("this is a gRPC service\n")
)

// Names in the static table (RFC 7541 appendix A).
const (
	nameStatus      = 8
	nameContentType = 31
)

// literal appends a field whose name is in the static table.
func literal(b []byte, name byte, value string) []byte {
	const prefixMax = 15 // four bits for the index, then the rest of it
	if name < prefixMax {
		b = append(b, name)
	} else {
		b = append(b, prefixMax, name-prefixMax)
	}
	return append(append(b, byte(len(value))), value...) // shorter than 127 bytes
}

func appendStatus(b []byte, code Code, message string) []byte {
	field := func(name, value string) {
		b = append(append(b, 0, byte(len(name))), name...)
		b = append(append(b, byte(len(value))), value...)
	}
	field("grpc-status", strconv.Itoa(int(code)))
	if message != "" {
		field("grpc-message", message)
	}
	return b
}

// dispatch answers a stream, or begins to. It runs on the goroutine that reads the connection.
func (c *conn) dispatch(s *stream, message []byte) {
	s.dispatched, c.idle = true, 0
	c.receiving--
	switch s.refusal {
	case refusalMethod:
		c.answer(s, blockMethod, notGRPC, nil)
		return
	case refusalType:
		c.answer(s, blockType, notGRPC, nil)
		return
	case refusalUnknown:
		c.fail(s, Unimplemented)
		return
	}
	c.call = Call{
		Message: message, Fault: s.fault, Deadline: s.deadline, TraceParent: s.traceParent, TraceState: s.traceState,
	}
	answer, code, later := c.ask(s)
	if s.reserved > 0 {
		s.release(c.server)
	}
	if later != nil {
		c.begin(s, later)
		return
	}
	c.conclude(s, answer, code)
}

// ask keeps a panic of a method from ending the process.
func (c *conn) ask(s *stream) (answer []byte, code Code, later Later) {
	defer func() {
		if p := recover(); p != nil {
			c.server.config.Panicked(s.path, p, debug.Stack())
			answer, code, later = nil, Internal, nil
		}
	}()
	return s.method(&c.call)
}

func (c *conn) conclude(s *stream, answer []byte, code Code) {
	if code != OK {
		c.fail(s, code)
		return
	}
	c.answer(s, blockOK, answer, blockTrailer)
}

// fail answers with a status alone ("Trailers-Only").
func (c *conn) fail(s *stream, code Code) {
	c.answer(s, nil, nil, appendStatus(blockOK[:len(blockOK):len(blockOK)], code, ""))
}

// answer sends headers, a body and trailers, as far as windows allow; the rest when they do.
func (c *conn) answer(s *stream, headers, body, trailers []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.running = false
	if s.gone || c.broken {
		c.finished()
		return
	}
	if headers != nil {
		c.out = append(appendFrameHeader(c.out, len(headers), frameHeaders, flagEndHeaders, s.id), headers...)
	}
	var prefix [prefixBytes]byte
	length := len(body)
	framed := body != nil || headers != nil
	if framed && trailers != nil {
		binary.BigEndian.PutUint32(prefix[1:], uint32(len(body)))
		length += prefixBytes
	}
	if framed && length <= frameBytesMax && int64(length) <= min(s.send, c.send) && len(c.blocked) == 0 {
		c.spend(s, length)
		flags := byte(0)
		if trailers == nil {
			flags = flagEndStream
		}
		c.out = appendFrameHeader(c.out, length, frameData, flags, s.id)
		c.out = append(append(c.out, prefix[:length-len(body)]...), body...)
	} else if framed {
		s.rest = append(append(make([]byte, 0, length), prefix[:length-len(body)]...), body...)
	}
	s.tail = trailers
	if s.rest != nil {
		c.blocked = append(c.blocked, s)
		c.pump()
		return
	}
	c.complete(s, trailers)
}

func (c *conn) spend(s *stream, n int) {
	s.send -= int64(n)
	c.send -= int64(n)
}

// pump sends what waited for a window, in the order in which it began to wait.
func (c *conn) pump() {
	waiting := c.blocked
	c.blocked = c.blocked[:0]
	for _, s := range waiting {
		if s.gone {
			continue
		}
		for len(s.rest) > 0 {
			n := min(int64(len(s.rest)), s.send, c.send, frameBytesMax)
			if n <= 0 {
				break
			}
			c.spend(s, int(n))
			flags := byte(0)
			if s.tail == nil && int(n) == len(s.rest) {
				flags = flagEndStream
			}
			c.out = append(appendFrameHeader(c.out, int(n), frameData, flags, s.id), s.rest[:n]...)
			s.rest = s.rest[n:]
		}
		if len(s.rest) > 0 {
			c.blocked = append(c.blocked, s)
			continue
		}
		c.complete(s, s.tail)
	}
	clear(waiting[len(c.blocked):])
}

// complete sends the trailers and closes the stream. A client that still sends is told to stop, without a fault (s8.1).
func (c *conn) complete(s *stream, trailers []byte) {
	if trailers != nil {
		c.out = append(appendFrameHeader(c.out, len(trailers), frameHeaders, flagEndHeaders|flagEndStream, s.id), trailers...)
	}
	if !s.ended {
		c.out = appendReset(c.out, s.id, codeNone)
	}
	delete(c.streams, s.id)
	c.finished()
	if len(c.out) > outBytesMax {
		_ = c.flush() // many answers to what came in one piece; the goroutine that reads finds out
	}
}

// finished is called once for each stream, when nothing of it is left.
func (c *conn) finished() {
	c.active--
	c.closeWhenDrained()
}

// abort resets a stream from the goroutine that reads.
func (c *conn) abort(s *stream, code errorCode) {
	c.idle++
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(s, code)
}

// reset ends a stream with an error of its client.
func (c *conn) reset(s *stream, code errorCode) {
	c.out = appendReset(c.out, s.id, code)
	c.forget(s)
}

// forget drops a stream: nobody waits for its answer. A Later that runs still counts as active until it ends.
func (c *conn) forget(s *stream) {
	s.gone = true
	if !s.dispatched {
		c.receiving--
	}
	delete(c.streams, s.id)
	s.release(c.server)
	if s.running {
		s.cancel()
		return
	}
	c.finished()
}

// flush sends what there is to send.
func (c *conn) flush() error {
	if len(c.out) == 0 || c.broken {
		return nil
	}
	c.writing.Store(time.Now().UnixNano())
	_, err := c.net.Write(c.out)
	c.writing.Store(0)
	if c.out = c.out[:0]; cap(c.out) > 2*outBytesMax {
		c.out = nil
	}
	if err != nil {
		c.broken = true
		c.net.Close()
	}
	return err
}

// job is a Later that runs.
type job struct {
	conn   *conn
	stream *stream
	later  Later
	ctx    context.Context
}

// begin hands the rest of a call to another goroutine.
func (c *conn) begin(s *stream, later Later) {
	var ctx context.Context
	var cancel context.CancelFunc
	if s.deadline.IsZero() {
		ctx, cancel = context.WithCancel(c.ctx)
	} else {
		ctx, cancel = context.WithDeadline(c.ctx, s.deadline)
	}
	c.mu.Lock()
	s.running, s.cancel = true, cancel
	c.mu.Unlock()
	j := job{c, s, later, ctx}
	select {
	case c.server.jobs <- j:
	default: // all workers are at it; StreamsMax bounds how many more there can be
		c.server.running.Go(j.run)
	}
}

func (s *Server) work() {
	for {
		select {
		case j := <-s.jobs:
			j.run()
		case <-s.stopped:
			return
		}
	}
}

func (j job) run() {
	answer, code := j.ask()
	j.stream.cancel()
	c := j.conn
	c.conclude(j.stream, answer, code)
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.flush() // the goroutine that reads finds out
}

func (j job) ask() (answer []byte, code Code) {
	defer func() {
		if p := recover(); p != nil {
			j.conn.server.config.Panicked(j.stream.path, p, debug.Stack())
			answer, code = nil, Internal
		}
	}()
	return j.later(j.ctx)
}

// String is the name gRPC has for the code.
func (c Code) String() string {
	switch c {
	case OK:
		return "OK"
	case NotFound:
		return "NotFound"
	case Unimplemented:
		return "Unimplemented"
	case Internal:
		return "Internal"
	case Unavailable:
		return "Unavailable"
	}
	return fmt.Sprintf("Code(%d)", uint32(c))
}
