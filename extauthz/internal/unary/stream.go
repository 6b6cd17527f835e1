package unary

import (
	"context"
	"encoding/binary"
	"time"
)

// stream is one call.
type stream struct {
	id uint32

	// What is received. Only the goroutine that reads the connection looks at it.
	method        Method // nil: see refusal
	path          string
	refusal       refusal
	deadline      time.Time
	traceParent   string
	traceState    string
	contentLength int64 // negative when there is none
	began         int64 // when its head was read, in Unix nanoseconds
	received      int64
	window        int // what the client may still send
	prefix        [prefixBytes]byte
	prefixed      int // bytes of prefix that are there
	message       []byte
	reserved      int64 // of Server.receiving: the room that message takes
	fault         Fault
	dispatched    bool // nothing more is read of it

	// Under conn.mu.
	ended   bool  // the client sent everything
	running bool  // a Later runs
	gone    bool  // reset: the answer is not wanted any more
	send    int64 // what we may still send
	cancel  context.CancelFunc
	rest    []byte // of the message, to be sent when there is a window for it
	tail    []byte // what comes after it
}

// prefixBytes is the compressed flag and the length in front of each message.
const prefixBytes = 5

// take reads a piece of the body. whole is the message when it came in one piece, which is then not copied.
func (s *stream) take(data []byte, last bool, server *Server) (whole []byte) {
	if s.fault != FaultNone {
		return nil
	}
	if s.prefixed < prefixBytes {
		n := copy(s.prefix[s.prefixed:], data)
		s.prefixed += n
		data = data[n:]
		if s.prefixed < prefixBytes {
			return nil
		}
		switch length := int64(binary.BigEndian.Uint32(s.prefix[1:])); {
		case s.prefix[0] != 0:
			s.fault = FaultMalformed
			return nil
		case length > int64(server.config.MessageBytesMax):
			s.fault = FaultTooLarge
			return nil
		case last && int64(len(data)) == length:
			return data
		}
	}
	length := int(binary.BigEndian.Uint32(s.prefix[1:]))
	switch {
	case len(s.message)+len(data) > length:
		s.fault = FaultMalformed // a second message
	case !s.grow(len(data), length, server):
		s.fault = FaultOverload
	default:
		s.message = append(s.message, data...)
	}
	return nil
}

// growth is how much more room is taken than there are bytes for it.
const growth = 4

// grow makes room for n more bytes of a message of the given length; false when there is none. Room is taken for what came and not for what is announced:
// who wants to take it from others must send a fourth of it.
func (s *stream) grow(n, length int, server *Server) bool {
	need := len(s.message) + n
	if need <= cap(s.message) {
		return true
	}
	room := min(length, growth*need)
	more := int64(room - cap(s.message))
	if server.receiving.Add(more) > server.config.ReceivingBytesMax {
		server.receiving.Add(-more)
		return false
	}
	s.reserved += more
	s.message = append(make([]byte, 0, room), s.message...)
	return true
}

// complete reports whether the message is all there.
func (s *stream) complete() bool {
	return s.prefixed == prefixBytes && len(s.message) == int(binary.BigEndian.Uint32(s.prefix[1:]))
}

// release gives the room of the message back.
func (s *stream) release(server *Server) {
	server.receiving.Add(-s.reserved)
	s.reserved, s.message = 0, nil
}
