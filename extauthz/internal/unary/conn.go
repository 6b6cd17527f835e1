package unary

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	preface        = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // s3.4
	inBytes        = 64 << 10
	outBytesMax    = 64 << 10 // that wait for each other before they are sent, beside one answer
	receiveWindow  = 8 << 20  // of a connection; given back as it is used, what is kept is bounded by Config
	windowGiveBack = receiveWindow / 4
	tableBytesMax  = 4096 // of HPACK (s6.5.2)
	lingerMax      = time.Second
	blockFramesMax = 16   // frames of one header block
	idleFramesMax  = 1000 // in idleFramesSpan and without a call between them, frames that belong to none
	idleFramesSpan = time.Minute
)

// conn is one connection. One goroutine reads it; those of Later join to write.
type conn struct {
	server *Server
	net    net.Conn
	ctx    context.Context
	end    context.CancelFunc

	// Of the goroutine that reads.
	in        []byte
	from, to  int // what was read and not used yet is in[from:to]
	decoder   *hpack.Decoder
	head      head
	block     []byte // a header block that goes on in CONTINUATION
	blockOf   uint32 // its stream; 0 when there is none
	blockEnds bool   // it came with END_STREAM
	blockSize int    // frames
	last      uint32 // the highest stream the client began
	window    int    // what the client may still send on the connection
	used      int    // of it, not given back yet
	receiving int    // streams that were begun and not handed on
	hurried   bool   // a read waits no longer than one of them may take
	idle      int    // frames since idleSince
	idleSince time.Time
	call      Call

	lastRead atomic.Int64 // when bytes came, in Unix nanoseconds
	writing  atomic.Int64 // since when a write is under way; 0: none is

	mu      sync.Mutex // protects what follows, and the parts of streams that say so
	streams map[uint32]*stream
	active  int // streams that are received, answered, or whose Later runs
	out     []byte
	send    int64 // what we may still send on the connection
	initial int64 // the client's window for new streams
	blocked []*stream
	pinged  bool
	drained drainState
	broken  bool
}

type drainState int

const (
	drainNone   drainState = iota
	drainBegun             // told to go away; what is on its way here is still served
	drainLatest            // told which stream is the last one
)

// drainPing is the ping whose answer says that everything the client sent before it knew has come (s6.8).
var drainPing = [8]byte{'d', 'r', 'a', 'i', 'n'}

func newConn(s *Server, nc net.Conn) *conn {
	ctx, end := context.WithCancel(context.Background())
	c := &conn{
		server: s, net: nc, ctx: ctx, end: end, in: make([]byte, inBytes), streams: map[uint32]*stream{},
		window: receiveWindow, send: windowInitial, initial: windowInitial, idleSince: time.Now(),
	}
	c.decoder = hpack.NewDecoder(tableBytesMax, func(f hpack.HeaderField) { c.head.field(f) })
	c.decoder.SetMaxStringLength(s.config.HeaderBytesMax)
	c.lastRead.Store(time.Now().UnixNano())
	return c
}

// serve reads until the connection ends.
func (c *conn) serve() {
	defer c.close()
	err := c.handshake()
	for err == nil {
		var f frame
		if f, err = c.next(); err == nil {
			err = c.frame(&f)
		}
	}
	var broken *connectionError
	if errors.As(err, &broken) {
		c.mu.Lock()
		c.out = appendGoAway(c.out, c.last, broken.code, broken.reason)
		c.flush()
		c.mu.Unlock()
		c.linger()
	}
}

// linger lets the client read what was written last: to close a socket that holds unread bytes would take it away.
func (c *conn) linger() {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.net.SetReadDeadline(time.Now().Add(lingerMax)) != nil {
		return
	}
	for {
		if _, err := c.net.Read(c.in); err != nil {
			return
		}
	}
}

// close forgets everything. Laters that run find their context ended.
func (c *conn) close() {
	c.net.Close()
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	for _, s := range c.streams {
		s.release(c.server)
	}
	c.streams, c.blocked, c.out = nil, nil, nil
}

// breakOff ends the connection at once, from any goroutine.
func (c *conn) breakOff() { c.net.Close() }

func (c *conn) handshake() error {
	if err := c.net.SetReadDeadline(time.Now().Add(c.server.config.HandshakeTimeout)); err != nil {
		return err
	}
	c.mu.Lock()
	settings := appendSetting(nil, settingStreams, uint32(c.server.config.StreamsMax))
	settings = appendSetting(settings, settingWindow, uint32(c.streamWindow()))
	settings = appendSetting(settings, settingHeaderBytes, uint32(c.server.config.HeaderBytesMax))
	c.out = append(appendFrameHeader(c.out, len(settings), frameSettings, 0, 0), settings...)
	c.out = appendWindow(c.out, 0, receiveWindow-windowInitial)
	c.mu.Unlock()
	for c.to < len(preface) {
		if err := c.read(); err != nil {
			return err
		}
		n := min(c.to, len(preface))
		if string(c.in[:n]) != preface[:n] {
			return &connectionError{codeProtocol, "not HTTP/2"}
		}
	}
	c.from = len(preface)
	f, err := c.next()
	if err != nil {
		return err
	}
	if f.kind != frameSettings || f.has(flagAck) {
		return &connectionError{codeProtocol, "the first frame is not SETTINGS"}
	}
	if err := c.frame(&f); err != nil {
		return err
	}
	return c.net.SetReadDeadline(time.Time{})
}

// streamWindow is what a client may send in one call: a message as large as may be, in frames that are padded.
func (c *conn) streamWindow() int { return c.server.config.MessageBytesMax + windowInitial }

// read waits for bytes. Before it waits, everything that was answered is sent.
func (c *conn) read() error {
	c.mu.Lock()
	err := c.hurry()
	if err == nil {
		err = c.flush()
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if c.from > 0 {
		c.to = copy(c.in, c.in[c.from:c.to])
		c.from = 0
	}
	n, err := c.net.Read(c.in[c.to:])
	c.to += n
	switch {
	case n > 0:
		c.lastRead.Store(time.Now().UnixNano())
		return nil
	case c.hurried && errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

// hurry resets calls that do not come to an end, which would keep the room of their messages from others, and sees to it that a read ends when the next one is due.
func (c *conn) hurry() error {
	if c.receiving == 0 && !c.hurried || c.broken {
		return nil
	}
	var due time.Time
	now := time.Now()
	for _, s := range c.streams {
		if s.dispatched {
			continue
		}
		end := time.Unix(0, s.began).Add(c.server.config.ReceiveTimeout)
		if !now.Before(end) {
			c.reset(s, codeCancel)
		} else if due.IsZero() || end.Before(due) {
			due = end
		}
	}
	if c.broken { // the last call of a connection that drains
		return nil
	}
	c.hurried = !due.IsZero()
	return c.net.SetReadDeadline(due)
}

// next returns the next frame.
func (c *conn) next() (frame, error) {
	for {
		if b := c.in[c.from:c.to]; len(b) >= frameHeaderBytes {
			length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
			if length > frameBytesMax {
				return frame{}, &connectionError{codeFrameSize, "a frame is larger than 16 KiB"}
			}
			if len(b) >= frameHeaderBytes+length {
				c.from += frameHeaderBytes + length
				return frame{
					kind: b[3], flags: b[4], stream: binary.BigEndian.Uint32(b[5:]) & streamIDMax,
					payload: b[frameHeaderBytes : frameHeaderBytes+length],
				}, nil
			}
		}
		if err := c.read(); err != nil {
			return frame{}, err
		}
	}
}

// frame does what a frame asks for.
func (c *conn) frame(f *frame) error {
	if c.blockOf != 0 && (f.kind != frameContinuation || f.stream != c.blockOf) {
		return &connectionError{codeProtocol, "another frame within a header block"}
	}
	switch f.kind {
	case frameData:
		return c.data(f)
	case frameHeaders:
		return c.headers(f)
	case frameContinuation:
		return c.continuation(f)
	}
	c.idle++
	if c.idle > idleFramesMax {
		now := time.Now()
		if now.Sub(c.idleSince) < idleFramesSpan {
			return &connectionError{codeEnhanceCalm, "too many frames that belong to no call"}
		}
		c.idle, c.idleSince = 0, now
	}
	switch f.kind {
	case framePriority:
		return c.priority(f)
	case frameReset:
		return c.resetByClient(f)
	case frameSettings:
		return c.settings(f)
	case framePush:
		return &connectionError{codeProtocol, "a client does not push"}
	case framePing:
		return c.ping(f)
	case frameGoAway:
		return c.goAway(f)
	case frameWindow:
		return c.windowUpdate(f)
	}
	return nil // s5.5: unknown types are ignored
}
