package unary_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/agentidp/agentidp/extauthz/internal/unary"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

func fields(path string, more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":path", path, ":authority", "t", "te", "trailers", "content-type", "application/grpc"}, more...)
}

// framed is a gRPC message.
func framed(message string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func dial2(t *testing.T, a net.Addr) *rawhttp.Conn2 {
	t.Helper()
	return rawhttp.Dial2(t, a.Network(), a.String())
}

// must fails the test when a frame cannot be written.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMessagesInPieces(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	c := dial2(t, a)
	whole := framed("a message in pieces")
	for i, cuts := range [][]int{{1}, {4}, {5}, {6}, {len(whole) - 1}, {1, 2, 3, 4, 5, 6, 7}, {3, 3, 3}, {len(whole)}} {
		stream, from := uint32(2*i+1), 0
		must(t, c.Open(stream, false, fields("/t/Echo")...))
		for _, to := range cuts {
			must(t, c.WriteData(stream, false, whole[from:to]))
			from = to
		}
		must(t, c.WriteDataPadded(stream, true, whole[from:], make([]byte, 7)))
		got, err := c.Answer(stream)
		if err != nil || got.Body != string(whole) || got.Header.Get("grpc-status") != "0" {
			t.Errorf("cut at %v: %+v, %v", cuts, got, err)
		}
	}
}

func TestWhatIsNoMessage(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"whole":        {framed("m"), "0"},
		"empty":        {framed(""), "0"},
		"nothing":      {nil, "2"},
		"no length":    {[]byte{0, 0, 0}, "2"},
		"cut off":      {framed("message")[:9], "2"},
		"two":          {append(framed("m"), framed("n")...), "2"},
		"compressed":   {[]byte{1, 0, 0, 0, 1, 'm'}, "2"},
		"another flag": {[]byte{2, 0, 0, 0, 1, 'm'}, "2"},
		"too large":    {[]byte{0, 0xff, 0xff, 0xff, 0xff}, "1"},
	} {
		for _, trailers := range []bool{false, true} {
			conn := dial2(t, a)
			must(t, conn.Open(1, false, fields("/t/Fault")...))
			must(t, conn.WriteData(1, !trailers, c.body))
			if trailers {
				must(t, conn.Open(1, true, "x", "y"))
			}
			got, err := conn.Answer(1)
			if err != nil || got.Body != string(framed(c.want)) || got.Header.Get("grpc-status") != "0" {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			conn.Close()
		}
	}
}

// A value that another reader of the stream would end early (RFC 9113 s8.2.1), or a time that is said twice, makes a call malformed (s8.1.1). The connection goes on.
func TestMetadataThatIsMalformed(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	conn := dial2(t, a)
	stream := uint32(1)
	for name, c := range map[string]struct {
		fields []string
		good   bool
	}{
		"a tab and a byte that is no text": {fields("/t/Echo", "x", "a\tb\xff"), true},
		"an empty value":                   {fields("/t/Echo", "x", ""), true},
		"one time":                         {fields("/t/Echo", "grpc-timeout", "1M"), true},
		"a time that cannot be read":       {fields("/t/Echo", "grpc-timeout", "soon"), true},
		"NUL":                              {fields("/t/Echo", "x", "a\x00b"), false},
		"CR":                               {fields("/t/Echo", "x", "a\rb"), false},
		"LF":                               {fields("/t/Echo", "x", "\n"), false},
		"NUL in what is read":              {fields("/t/Echo", "traceparent", "00\x00"), false},
		"LF in a pseudo header":            {fields("/t/Echo\n"), false},
		"two times":                        {fields("/t/Echo", "grpc-timeout", "1S", "grpc-timeout", "1H"), false},
		"the same time twice":              {fields("/t/Echo", "grpc-timeout", "1M", "grpc-timeout", "1M"), false},
		"a time after one that is none":    {fields("/t/Echo", "grpc-timeout", "soon", "grpc-timeout", "1M"), false},
	} {
		must(t, conn.Open(stream, false, c.fields...))
		must(t, conn.WriteData(stream, true, framed("m")))
		got, err := conn.Answer(stream)
		if c.good && (err != nil || got.Header.Get("grpc-status") != "0") || !c.good && !errors.Is(err, rawhttp.ErrReset) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		stream += 2
	}
	must(t, conn.Open(stream, false, fields("/t/Echo")...))
	must(t, conn.WriteData(stream, false, framed("m")))
	must(t, conn.Open(stream, true, "x", "a\x00b")) // trailers
	if got, err := conn.Answer(stream); !errors.Is(err, rawhttp.ErrReset) {
		t.Errorf("trailers: %+v, %v", got, err)
	}
}

func TestWhatIsNotGRPC(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	for name, c := range map[string]struct {
		fields []string
		status int
	}{
		"another method": {[]string{":method", "GET", ":scheme", "http", ":path", "/t/Echo", "content-type", "application/grpc"}, 405},
		"another type":   {[]string{":method", "POST", ":scheme", "http", ":path", "/t/Echo", "content-type", "application/grpcx"}, 415},
		"no type":        {[]string{":method", "POST", ":scheme", "http", ":path", "/t/Echo"}, 415},
		"a subtype":      {[]string{":method", "POST", ":scheme", "http", ":path", "/t/Echo", "content-type", "application/grpc+proto"}, 200},
		"a parameter":    {[]string{":method", "POST", ":scheme", "http", ":path", "/t/Echo", "content-type", "application/grpc;x=y"}, 200},
	} {
		conn := dial2(t, a)
		must(t, conn.Open(1, true, c.fields...))
		if got, err := conn.Answer(1); err != nil || got.Status != c.status {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		conn.Close()
	}
}

// What is being received has one bound over all connections. Beyond it calls are told so, and what was received gives its room back.
func TestReceivingIsBounded(t *testing.T) {
	t.Parallel()
	c := config()
	c.ReceivingBytesMax = 1000
	_, a := serve(t, c)
	announced := binary.BigEndian.AppendUint32([]byte{0}, 900)
	most := append(bytes.Clone(announced), make([]byte, 899)...)
	holder, other := dial2(t, a), dial2(t, a)
	hold := func(stream uint32) {
		t.Helper()
		must(t, holder.Open(stream, false, fields("/t/Fault")...))
		must(t, holder.WriteData(stream, false, most))
		must(t, holder.WritePing(false, [8]byte{byte(stream)})) // answered when what came before it was read
		await(t, holder, http2.FramePing)
	}
	ask := func(stream uint32, want string) {
		t.Helper()
		must(t, other.Open(stream, false, fields("/t/Fault")...))
		must(t, other.WriteData(stream, false, most))
		if want == "0" {
			must(t, other.WriteData(stream, true, make([]byte, 1)))
		}
		if got, err := other.Answer(stream); err != nil || got.Body != string(framed(want)) {
			t.Errorf("stream %d: %+v, %v; want %s", stream, got, err, want)
		}
	}
	ask(1, "0")
	hold(1)
	ask(3, "3")
	must(t, holder.WriteRSTStream(1, http2.ErrCodeCancel))
	hold(3)
	ask(5, "3")
	must(t, holder.WriteData(3, true, make([]byte, 1)))
	if got, err := holder.Answer(3); err != nil || got.Body != string(framed("0")) {
		t.Errorf("the holder: %+v, %v", got, err)
	}
	ask(7, "0")
	hold(5)
	holder.Close()
	for got := ""; got != string(framed("0")); { // once the end of the connection was noticed
		again := dial2(t, a)
		must(t, again.Open(1, false, fields("/t/Fault")...))
		must(t, again.WriteData(1, false, most))
		_ = again.WriteData(1, true, make([]byte, 1))
		a, err := again.Answer(1)
		must(t, err)
		got = a.Body
		again.Close()
	}
}

// await reads until a frame of a type, and returns it.
func await(t *testing.T, c *rawhttp.Conn2, kind http2.FrameType) http2.Frame {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(wait))
	for {
		f, err := c.ReadFrame()
		must(t, err)
		if f.Header().Type == kind {
			return f
		}
	}
}

// ends reads until the connection ends, and returns the code it was ended with.
func ends(t *testing.T, c *rawhttp.Conn2) http2.ErrCode {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(wait))
	code := http2.ErrCode(0xff)
	for {
		f, err := c.ReadFrame()
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code = g.ErrCode
		}
		var silent net.Error
		if errors.As(err, &silent) && silent.Timeout() {
			t.Fatal("the connection is still there")
		}
		if err != nil {
			return code
		}
	}
}

func TestClientsThatSayNothing(t *testing.T) {
	t.Parallel()
	c := config()
	c.HandshakeTimeout = 50 * time.Millisecond
	_, a := serve(t, c)
	for _, begin := range []string{"", "PRI * HT", http2.ClientPreface} {
		conn, err := net.Dial(a.Network(), a.String())
		must(t, err)
		_, err = io.WriteString(conn, begin)
		must(t, err)
		_ = conn.SetDeadline(time.Now().Add(wait))
		if _, err := io.Copy(io.Discard, conn); errors.As(err, new(net.Error)) && err.(net.Error).Timeout() {
			t.Errorf("after %q the connection is still there", begin)
		}
		conn.Close()
	}
}

func TestIdleClientsAreAsked(t *testing.T) {
	t.Parallel()
	c := config()
	c.IdlePing, c.PingTimeout = 50*time.Millisecond, 2*time.Second
	_, a := serve(t, c)
	silent := dial2(t, a)
	await(t, silent, http2.FramePing)
	ends(t, silent)
	alive := dial2(t, a)
	for range 5 {
		must(t, alive.WritePing(true, await(t, alive, http2.FramePing).(*http2.PingFrame).Data))
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	c := config()
	c.ConnectionsMax = 2
	_, a := serve(t, c)
	for range c.ConnectionsMax { // which stay open
		conn := dial2(t, a)
		must(t, conn.Open(1, true, fields("/t/Echo")...))
		if _, err := conn.Answer(1); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial(a.Network(), a.String())
	must(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more: %d bytes, %v", n, err)
	}
}

// A client that reads nothing is left alone, and costs what one answer costs.
func TestClientsThatReadNothing(t *testing.T) {
	t.Parallel()
	c := config()
	c.IdlePing, c.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	c.MessageBytesMax = 1 << 20
	_, a := serve(t, c)
	conn := dial2(t, a)
	_ = conn.SetDeadline(time.Now().Add(wait))
	must(t, conn.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
	must(t, conn.WriteWindowUpdate(0, 1<<30))
	body := framed(string(bytes.Repeat([]byte{255}, 1)))
	var err error
	for stream := uint32(1); err == nil; stream += 2 {
		if err = conn.Open(stream, false, fields("/t/Size")...); err == nil {
			err = conn.WriteData(stream, true, body)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server waits for ever")
	}
}

// Frames of no call are answered and counted; too many of them end the connection, and calls in between start the count again.
func TestFramesOfNoCall(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	flooding := dial2(t, a)
	go func() {
		for range 2000 {
			if flooding.WritePriority(1, http2.PriorityParam{Weight: 1}) != nil {
				return
			}
		}
	}()
	if code := ends(t, flooding); code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("ended with %v", code)
	}
	c := dial2(t, a)
	for i := range 10 {
		for range 500 {
			must(t, c.WritePriority(1, http2.PriorityParam{Weight: 1}))
		}
		must(t, c.Open(uint32(2*i+1), true, fields("/t/Echo")...))
		if _, err := c.Answer(uint32(2*i + 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// Streams that were reset count until their work has ended: a client cannot have more of it done by giving up on it.
func TestResetStreamsCountWhileTheyRun(t *testing.T) {
	t.Parallel()
	c := config()
	c.StreamsMax = 3
	began, leave := make(chan struct{}, 10), make(chan struct{})
	c.Methods["/t/Hold"] = holding(began, leave)
	_, a := serve(t, c)
	conn := dial2(t, a)
	for i := range 3 {
		stream := uint32(2*i + 1)
		must(t, conn.Open(stream, false, fields("/t/Hold")...))
		must(t, conn.WriteData(stream, true, framed("m")))
		<-began
		must(t, conn.WriteRSTStream(stream, http2.ErrCodeCancel))
	}
	must(t, conn.Open(7, true, fields("/t/Hold")...))
	if f := await(t, conn, http2.FrameRSTStream).(*http2.RSTStreamFrame); f.StreamID != 7 || f.ErrCode != http2.ErrCodeRefusedStream {
		t.Errorf("%v", f)
	}
	close(leave)
	for stream := uint32(9); ; stream += 2 { // once they have ended
		must(t, conn.Open(stream, false, fields("/t/Echo")...))
		must(t, conn.WriteData(stream, true, framed("m")))
		if got, err := conn.Answer(stream); err == nil && got.Body == string(framed("m")) {
			break
		}
	}
}

// holding is a method whose work ignores that nobody waits.
func holding(began chan<- struct{}, leave <-chan struct{}) unary.Method {
	return func(*unary.Call) ([]byte, unary.Code, unary.Later) {
		return nil, unary.OK, func(context.Context) ([]byte, unary.Code) {
			began <- struct{}{}
			<-leave
			return nil, unary.OK
		}
	}
}

// A server that shuts down tells twice: first that nothing new should come, then what the last stream is.
func TestGoAwayTwice(t *testing.T) {
	t.Parallel()
	s, a := serve(t, config())
	c := dial2(t, a)
	must(t, c.Open(1, true, fields("/t/Echo")...))
	if _, err := c.Answer(1); err != nil {
		t.Fatal(err)
	}
	down := make(chan struct{})
	go func() { s.Shutdown(t.Context()); close(down) }()
	if f := await(t, c, http2.FrameGoAway).(*http2.GoAwayFrame); f.LastStreamID != 1<<31-1 || f.ErrCode != 0 {
		t.Errorf("first %v", f)
	}
	ping := await(t, c, http2.FramePing).(*http2.PingFrame)
	must(t, c.Open(3, true, fields("/t/Echo")...)) // the client has not read that far yet
	if _, err := c.Answer(3); err != nil {
		t.Errorf("a call from before: %v", err)
	}
	must(t, c.WritePing(true, ping.Data))
	if f := await(t, c, http2.FrameGoAway).(*http2.GoAwayFrame); f.LastStreamID != 3 || f.ErrCode != 0 {
		t.Errorf("then %v", f)
	}
	ends(t, c)
	c.Close()
	<-down
}
