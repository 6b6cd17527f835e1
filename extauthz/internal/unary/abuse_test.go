package unary_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// One byte of a header block can stand for 4 KiB that came before. A block that means more than it may is refused for what it means; its table is kept, so that the
// connection goes on.
func TestHeaderBlocksThatRepeatThemselves(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	c := dial2(t, a)
	for i, name := range []string{"traceparent", "tracestate", "x"} {
		block := c.Block(append(fields("/t/Fault"), name, string(bytes.Repeat([]byte{'p'}, 3<<10)))...)
		block = append(block, bytes.Repeat([]byte{0x80 | 62}, 16<<10-len(block))...) // the newest entry of the table (RFC 7541 s2.3.3)
		id := uint32(1 + 4*i)
		must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}))
		if reset, ok := await(t, c, http2.FrameRSTStream).(*http2.RSTStreamFrame); !ok || reset.StreamID != id || reset.ErrCode != http2.ErrCodeEnhanceYourCalm {
			t.Fatalf("%s: %+v", name, reset)
		}
		must(t, c.Open(id+2, false, append(fields("/t/Trace"), "traceparent", "p")...))
		must(t, c.WriteData(id+2, true, framed("")))
		if got, err := c.Answer(id + 2); err != nil || got.Body != string(framed("p ")) {
			t.Fatalf("after %s: %+v, %v", name, got, err)
		}
	}
}

// Trailers are held to the same.
func TestTrailersThatRepeatThemselves(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	c := dial2(t, a)
	must(t, c.Open(1, false, fields("/t/Fault")...))
	block := c.Block("x", string(bytes.Repeat([]byte{'p'}, 3<<10)))
	block = append(block, bytes.Repeat([]byte{0x80 | 62}, 100)...)
	must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true}))
	if reset, ok := await(t, c, http2.FrameRSTStream).(*http2.RSTStreamFrame); !ok || reset.StreamID != 1 || reset.ErrCode != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("got %+v", reset)
	}
}

// Room is taken by what was sent and not by what was announced: nobody takes it from others by words.
func TestAnnouncementsTakeNoRoom(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.ReceivingBytesMax = 1000
	_, a := serve(t, cfg)
	idler, other := dial2(t, a), dial2(t, a)
	for id := uint32(1); id < 100; id += 2 {
		must(t, idler.Open(id, false, fields("/t/Fault")...))
		must(t, idler.WriteData(id, false, append(binary.BigEndian.AppendUint32([]byte{0}, 900), 'x')))
	}
	must(t, idler.WritePing(false, [8]byte{1}))
	await(t, idler, http2.FramePing)
	must(t, other.Open(1, false, fields("/t/Fault")...))
	must(t, other.WriteData(1, false, append(binary.BigEndian.AppendUint32([]byte{0}, 700), make([]byte, 699)...)))
	must(t, other.WriteData(1, true, []byte{0}))
	if got, err := other.Answer(1); err != nil || got.Body != string(framed("0")) {
		t.Errorf("%+v, %v", got, err)
	}
}

// A call that does not come to an end is reset, and gives back its room, whether its client is silent or sends a byte now and then. The connection goes on.
func TestCallsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.ReceivingBytesMax, cfg.ReceiveTimeout = 1000, 50*time.Millisecond
	_, a := serve(t, cfg)
	most := append(binary.BigEndian.AppendUint32([]byte{0}, 900), make([]byte, 800)...)
	for _, drips := range []bool{false, true} {
		c := dial2(t, a)
		must(t, c.Open(1, false, fields("/t/Fault")...))
		must(t, c.WriteData(1, false, most))
		if drips {
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond):
						if c.Framer.WriteRawFrame(0xfa, 0, 0, nil) != nil { // of a type that is ignored (RFC 9113 s5.5)
							return
						}
					}
				}
			}()
		}
		if reset, ok := await(t, c, http2.FrameRSTStream).(*http2.RSTStreamFrame); !ok || reset.StreamID != 1 || reset.ErrCode != http2.ErrCodeCancel {
			t.Fatalf("drips %v: %+v", drips, reset)
		}
		other := dial2(t, a)
		must(t, other.Open(1, false, fields("/t/Fault")...))
		must(t, other.WriteData(1, true, append(most, make([]byte, 100)...)))
		if got, err := other.Answer(1); err != nil || got.Body != string(framed("0")) {
			t.Errorf("drips %v: another call: %+v, %v", drips, got, err)
		}
		if drips {
			continue // its writer may be at it
		}
		must(t, c.Open(3, false, fields("/t/Echo")...))
		must(t, c.WriteData(3, true, framed("x")))
		if got, err := c.Answer(3); err != nil || got.Body != string(framed("x")) {
			t.Errorf("another call on the connection: %+v, %v", got, err)
		}
	}
}

// faulty is a connection that panics where the server reads it, as a fault in the protocol would.
type faulty struct{ net.Conn }

func (faulty) Read([]byte) (int, error) { panic("fault") }

type faultyListener struct {
	net.Listener
	accepted atomic.Int32
}

func (l *faultyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.accepted.Add(1) == 1 {
		return faulty{c}, nil
	}
	return c, err
}

// A panic outside of all methods ends its connection and nothing else.
func TestPanicsEndAConnectionAndNothingElse(t *testing.T) {
	t.Parallel()
	cfg := config()
	panicked := make(chan string, 1)
	cfg.Panicked = func(path string, value any, _ []byte) { panicked <- path + "|" + value.(string) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, cfg, &faultyListener{Listener: l})
	broken, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	must(t, broken.SetDeadline(time.Now().Add(wait)))
	for err == nil { // what it was told before, then the end
		_, err = broken.Read(make([]byte, 1<<10))
	}
	if got := <-panicked; got != "|fault" {
		t.Errorf("got %q", got)
	}
	if got, err := call(t, client(t, l.Addr()), "/t/Echo", []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("another connection: %q, %v", got, err)
	}
}

// FuzzConnection: whatever a client sends, nothing panics, the connection ends with its client, and others are served.
func FuzzConnection(f *testing.F) {
	frame := func(kind, flags byte, stream uint32, payload ...byte) []byte {
		b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		return append(binary.BigEndian.AppendUint32(b, stream), payload...)
	}
	head := []byte{0x83, 0x86, 0x44, 0x07, '/', 't', '/', 'E', 'c', 'h', 'o', 0x0f, 0x10, 0x10, 'a', 'p', 'p', 'l', 'i', 'c', 'a', 't', 'i', 'o', 'n', '/', 'g', 'r', 'p', 'c'}
	f.Add(bytes.Join([][]byte{frame(1, 4, 1, head...), frame(0, 1, 1, 0, 0, 0, 0, 1, 'x')}, nil))
	f.Add(bytes.Join([][]byte{frame(1, 0, 1, head[:3]...), frame(9, 4, 1, head[3:]...), frame(0, 0, 1, 0, 0, 0), frame(0, 1, 1, 0, 1, 'x')}, nil))
	f.Add(bytes.Join([][]byte{frame(4, 0, 0, 0, 4, 0, 0, 0, 1), frame(1, 5, 1, head...), frame(8, 0, 1, 0, 0, 0, 9), frame(3, 0, 1, 0, 0, 0, 8)}, nil))
	f.Add(bytes.Join([][]byte{frame(6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), frame(7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), frame(2, 0, 1, 0, 0, 0, 3, 1)}, nil))
	cfg := config()
	var panics atomic.Int32
	cfg.Panicked = func(path string, _ any, _ []byte) {
		if path == "" {
			panics.Add(1)
		}
	}
	_, a := serve(f, cfg)
	sound := client(f, a)
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, err := net.Dial(a.Network(), a.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(wait)))
		_, err = c.Write(bytes.Join([][]byte{[]byte(http2.ClientPreface), frame(4, 0, 0), sent}, nil))
		if half, ok := c.(*net.UnixConn); ok && err == nil {
			err = half.CloseWrite()
		}
		for err == nil {
			_, err = c.Read(make([]byte, 64<<10))
		}
		if n, silent := panics.Load(), errors.Is(err, os.ErrDeadlineExceeded); n > 0 || silent {
			t.Fatalf("%d panics; no end in time: %v", n, silent)
		}
		if got, err := call(t, sound, "/t/Echo", []byte("x")); err != nil || string(got) != "x" {
			t.Fatalf("others: %q, %v", got, err)
		}
	})
}
