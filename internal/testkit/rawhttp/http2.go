package rawhttp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Conn2 is an HTTP/2 connection by prior knowledge (RFC 9113 s3.3) on which the test writes frames itself. Nothing is checked, answered or
// counted for it, but what Answer does.
type Conn2 struct {
	net.Conn
	*http2.Framer

	fields  bytes.Buffer
	encoder *hpack.Encoder
}

// headerBytesMax is how much of an answer's header is read: a denial is far below.
const headerBytesMax = 256 << 10

// Dial2 connects and sends the preface and an empty SETTINGS frame. The connection ends with the test at the latest.
func Dial2(t testing.TB, network, address string) *Conn2 {
	t.Helper()
	conn, err := net.DialTimeout(network, address, exchangeTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &Conn2{Conn: conn, Framer: http2.NewFramer(conn, conn)}
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders, c.MaxHeaderListSize = hpack.NewDecoder(4096, nil), headerBytesMax
	c.encoder = hpack.NewEncoder(&c.fields)
	_ = conn.SetDeadline(time.Now().Add(exchangeTimeout))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// Block encodes fields, given as name, value, name, value …, in this order and spelling. Blocks must be sent in the order they were made.
func (c *Conn2) Block(fields ...string) []byte {
	c.fields.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to a buffer
	}
	return bytes.Clone(c.fields.Bytes())
}

// Open sends one HEADERS frame; end says that nothing follows on the stream.
func (c *Conn2) Open(stream uint32, end bool, fields ...string) error {
	return c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.Block(fields...), EndHeaders: true, EndStream: end})
}

// ErrReset is the end of a stream, or a connection, that the server did not answer.
var ErrReset = errors.New("the server ended the stream without an answer")

// Answer reads until the stream ends: header and trailers together, and the body. It acknowledges SETTINGS, and answers no PING. A stream
// or connection that ends without an answer is an error.
func (c *Conn2) Answer(stream uint32) (Answer, error) {
	a := Answer{Header: http.Header{}}
	_ = c.SetDeadline(time.Now().Add(exchangeTimeout))
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return a, err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = c.WriteSettingsAck()
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream && a.Status == 0 {
				err = ErrReset
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				err = ErrReset // the connection follows when the server sees fit
			}
		case *http2.DataFrame:
			if f.StreamID == stream {
				a.Body += string(f.Data())
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				for _, field := range f.Fields {
					a.Header.Add(field.Name, field.Value)
				}
				a.Status, _ = strconv.Atoi(a.Header.Get(":status"))
			}
		}
		if err != nil {
			return a, err
		}
		if h := frame.Header(); h.StreamID == stream && (h.Type == http2.FrameRSTStream || h.Flags.Has(http2.FlagDataEndStream) && (h.Type == http2.FrameData || h.Type == http2.FrameHeaders)) {
			return a, nil
		}
	}
}

// Send2 sends one request on an HTTP/2 connection of its own, with trailers when there are any. A request that is answered by the end of the
// stream or of the connection is an Answer with status 0.
func Send2(t testing.TB, address string, fields, trailers []string) Answer {
	t.Helper()
	c := Dial2(t, "tcp", address)
	defer c.Close()
	err := c.Open(1, len(trailers) == 0, fields...)
	if err == nil && len(trailers) > 0 {
		err = c.Open(1, true, trailers...)
	}
	if err != nil {
		return Answer{}
	}
	a, err := c.Answer(1)
	var silence net.Error
	if errors.As(err, &silence) && silence.Timeout() {
		t.Errorf("no answer to %q in %s", fields, exchangeTimeout)
	}
	if err != nil {
		return Answer{}
	}
	return a
}
