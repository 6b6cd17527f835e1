package unary

import (
	"encoding/binary"
	"time"
)

// headers begins a stream, or ends one with trailers (s6.2).
func (c *conn) headers(f *frame) error {
	if f.stream&1 == 0 {
		return &connectionError{codeProtocol, "a stream no client can begin"}
	}
	block, ok := f.unpadded()
	if !ok {
		return &connectionError{codeProtocol, "more padding than frame"}
	}
	if f.has(flagPriority) {
		if len(block) < priorityBytes {
			return &connectionError{codeFrameSize, "HEADERS without the priority it announces"}
		}
		if binary.BigEndian.Uint32(block)&streamIDMax == f.stream {
			return &connectionError{codeProtocol, "a stream that depends on itself"}
		}
		block = block[priorityBytes:]
	}
	if f.has(flagEndHeaders) {
		return c.blockDone(f.stream, block, f.has(flagEndStream))
	}
	c.block = append(c.block[:0], block...)
	c.blockOf, c.blockEnds, c.blockSize = f.stream, f.has(flagEndStream), 1
	return nil
}

const priorityBytes = 5 // deprecated by RFC 9113 s5.3, and still sent

func (c *conn) continuation(f *frame) error {
	if c.blockOf == 0 {
		return &connectionError{codeProtocol, "CONTINUATION of nothing"}
	}
	c.block = append(c.block, f.payload...)
	c.blockSize++
	if len(c.block) > c.server.config.HeaderBytesMax || c.blockSize > blockFramesMax {
		return &connectionError{codeEnhanceCalm, "a header block without an end"}
	}
	if !f.has(flagEndHeaders) {
		return nil
	}
	id := c.blockOf
	c.blockOf = 0
	return c.blockDone(id, c.block, c.blockEnds)
}

// blockDone reads a whole header block. It is read also when the stream is refused: both sides keep a table of what came.
func (c *conn) blockDone(id uint32, block []byte, ends bool) error {
	c.head.reset(c.server.config.HeaderBytesMax)
	if _, err := c.decoder.Write(block); err != nil {
		return &connectionError{codeCompression, "a header block that is not HPACK"}
	}
	if err := c.decoder.Close(); err != nil {
		return &connectionError{codeCompression, "a header block that is cut off"}
	}
	c.mu.Lock()
	s := c.streams[id]
	c.mu.Unlock()
	switch {
	case s != nil:
		return c.trailers(s, ends)
	case id <= c.last:
		return &connectionError{codeStreamClosed, "HEADERS of a stream that is closed"}
	}
	c.last = id
	if code := c.admit(); code != codeNone {
		c.refuse(id, code)
		return nil
	}
	s = c.newStream(id)
	if ends {
		return c.received(s, nil)
	}
	return nil
}

func (c *conn) trailers(s *stream, ends bool) error {
	switch {
	case s.ended:
		c.abort(s, codeStreamClosed)
	case c.head.size > c.head.sizeMax:
		c.abort(s, codeEnhanceCalm)
	case !ends || !c.head.isTrailer():
		c.abort(s, codeProtocol)
	default:
		return c.received(s, nil)
	}
	return nil
}

// admit says why the stream whose head was read cannot be served.
func (c *conn) admit() errorCode {
	c.mu.Lock()
	active, drained := c.active, c.drained
	c.mu.Unlock()
	switch {
	case drained == drainLatest, active >= c.server.config.StreamsMax:
		return codeRefused // s8.7: nothing was done, it can be sent again
	case c.head.size > c.head.sizeMax:
		return codeEnhanceCalm
	case !c.head.isRequest():
		return codeProtocol
	}
	return codeNone
}

// refuse ends a stream that never was one.
func (c *conn) refuse(id uint32, code errorCode) {
	c.idle++
	c.mu.Lock()
	c.out = appendReset(c.out, id, code)
	c.mu.Unlock()
}

func (c *conn) newStream(id uint32) *stream {
	h := &c.head
	s := &stream{
		id: id, path: h.path, traceParent: h.traceParent, traceState: h.traceState,
		contentLength: h.contentLength, window: c.streamWindow(), began: c.lastRead.Load(),
	}
	c.receiving++
	switch s.method = c.server.config.Methods[h.path]; {
	case h.method != "POST":
		s.refusal = refusalMethod
	case !isGRPC(h.contentType):
		s.refusal = refusalType
	case s.method == nil:
		s.refusal = refusalUnknown
	}
	if h.timeout >= 0 {
		s.deadline = time.Now().Add(h.timeout)
	}
	c.mu.Lock()
	s.send = c.initial
	c.streams[id] = s
	c.active++
	c.mu.Unlock()
	return s
}

// data takes a piece of a message (s6.1).
func (c *conn) data(f *frame) error {
	if f.stream == 0 || f.stream > c.last {
		return &connectionError{codeProtocol, "DATA of a stream that does not exist"}
	}
	if c.window -= len(f.payload); c.window < 0 {
		return &connectionError{codeFlowControl, "more than the connection's window"}
	}
	c.used += len(f.payload)
	if c.used >= windowGiveBack {
		c.mu.Lock()
		c.out = appendWindow(c.out, 0, c.used)
		c.mu.Unlock()
		c.window, c.used = c.window+c.used, 0
	}
	data, ok := f.unpadded()
	if !ok {
		return &connectionError{codeProtocol, "more padding than frame"}
	}
	c.mu.Lock()
	s := c.streams[f.stream]
	c.mu.Unlock()
	if s == nil {
		c.refuse(f.stream, codeStreamClosed)
		return nil
	}
	if s.ended {
		c.abort(s, codeStreamClosed)
		return nil
	}
	if s.window -= len(f.payload); s.window < 0 {
		c.abort(s, codeFlowControl)
		return nil
	}
	s.received += int64(len(data))
	if len(data) == 0 {
		c.idle++
	}
	var whole []byte
	last := f.has(flagEndStream)
	if !s.dispatched {
		whole = s.take(data, last, c.server)
	}
	if last {
		return c.received(s, whole)
	}
	if s.fault != FaultNone && !s.dispatched {
		c.dispatch(s, nil) // s8.1: an answer need not wait for the rest
	}
	return nil
}

// received is called when the client has sent all of a call. whole is its message when it came in one piece.
func (c *conn) received(s *stream, whole []byte) error {
	if s.contentLength >= 0 && s.contentLength != s.received {
		c.abort(s, codeProtocol) // s8.1.1
		return nil
	}
	c.mu.Lock()
	s.ended = true
	c.mu.Unlock()
	if s.dispatched {
		return nil
	}
	if whole == nil && s.fault == FaultNone {
		if s.complete() {
			whole = s.message
		} else {
			s.fault = FaultMalformed
		}
	}
	c.dispatch(s, whole)
	return nil
}

func (c *conn) priority(f *frame) error {
	switch {
	case f.stream == 0:
		return &connectionError{codeProtocol, "PRIORITY of no stream"}
	case len(f.payload) != priorityBytes:
		return &connectionError{codeFrameSize, "PRIORITY of another size"}
	case binary.BigEndian.Uint32(f.payload)&streamIDMax == f.stream:
		return &connectionError{codeProtocol, "a stream that depends on itself"}
	}
	return nil
}

func (c *conn) resetByClient(f *frame) error {
	switch {
	case f.stream == 0 || f.stream > c.last:
		return &connectionError{codeProtocol, "RST_STREAM of a stream that does not exist"}
	case len(f.payload) != 4:
		return &connectionError{codeFrameSize, "RST_STREAM of another size"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[f.stream]; s != nil {
		c.forget(s)
	}
	return nil
}

func (c *conn) settings(f *frame) error {
	switch {
	case f.stream != 0:
		return &connectionError{codeProtocol, "SETTINGS of a stream"}
	case f.has(flagAck) && len(f.payload) != 0, len(f.payload)%settingBytes != 0:
		return &connectionError{codeFrameSize, "SETTINGS of another size"}
	case f.has(flagAck):
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := f.payload; len(p) > 0; p = p[settingBytes:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingPush:
			if value > 1 {
				return &connectionError{codeProtocol, "ENABLE_PUSH is neither 0 nor 1"}
			}
		case settingWindow:
			if value > windowMax {
				return &connectionError{codeFlowControl, "INITIAL_WINDOW_SIZE is too large"}
			}
			if err := c.moveWindows(int64(value) - c.initial); err != nil {
				return err
			}
			c.initial = int64(value)
		case settingFrameSize:
			if value < frameBytesMax || value > 1<<24-1 {
				return &connectionError{codeProtocol, "MAX_FRAME_SIZE is out of range"}
			}
		} // the others bound what we never do
	}
	c.out = appendFrameHeader(c.out, 0, frameSettings, flagAck, 0)
	c.pump() // after it: from there on the client counts by the new windows
	return nil
}

func (c *conn) ping(f *frame) error {
	switch {
	case f.stream != 0:
		return &connectionError{codeProtocol, "PING of a stream"}
	case len(f.payload) != 8:
		return &connectionError{codeFrameSize, "PING of another size"}
	}
	data := [8]byte(f.payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !f.has(flagAck):
		c.out = appendPing(c.out, flagAck, data)
	case data == drainPing && c.drained == drainBegun:
		return c.drainLast()
	}
	return nil
}

// goAway: the client begins no more streams, and closes when it has its answers. There is nothing to do.
func (c *conn) goAway(f *frame) error {
	switch {
	case f.stream != 0:
		return &connectionError{codeProtocol, "GOAWAY of a stream"}
	case len(f.payload) < 8:
		return &connectionError{codeFrameSize, "GOAWAY of another size"}
	}
	return nil
}

func (c *conn) windowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return &connectionError{codeFrameSize, "WINDOW_UPDATE of another size"}
	}
	by := int64(binary.BigEndian.Uint32(f.payload) & windowMax)
	if f.stream > c.last {
		return &connectionError{codeProtocol, "WINDOW_UPDATE of a stream that does not exist"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == 0 {
		if c.send += by; by == 0 {
			return &connectionError{codeProtocol, "WINDOW_UPDATE by nothing"}
		}
		if c.send > windowMax {
			return &connectionError{codeFlowControl, "a window that is too large"}
		}
		c.pump()
		return nil
	}
	s := c.streams[f.stream]
	if s == nil {
		return nil // s5.1: it may have been on its way
	}
	switch s.send += by; {
	case by == 0:
		c.reset(s, codeProtocol)
	case s.send > windowMax:
		c.reset(s, codeFlowControl)
	default:
		c.pump()
	}
	return nil
}

// moveWindows is s6.9.2: what a client says about new streams changes those there are.
func (c *conn) moveWindows(by int64) error {
	for _, s := range c.streams {
		if s.send += by; s.send > windowMax {
			return &connectionError{codeFlowControl, "a window that is too large"}
		}
	}
	return nil
}
