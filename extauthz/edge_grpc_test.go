package extauthz_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

const (
	checkPath   = "/envoy.service.auth.v3.Authorization/Check"
	attackFor   = 3 * time.Second // and then the attacker gives up: whoever makes him wait has won
	attackBytes = 256 << 20       // of what a server might keep
	growthMax   = 96 << 20        // of the process, whatever it is sent
)

// ports is the program with its gRPC socket, attacked by whoever can connect to it.
type ports struct {
	*edge
	program *localsvc.Process
	metrics string
}

func startPorts(t *testing.T) *ports {
	t.Helper()
	p := &ports{edge: newEdge(t, "metrics: {listen: \"127.0.0.1:0\"}\n")}
	p.start(t)
	return p
}

func (p *ports) start(t *testing.T) {
	t.Helper()
	p.program = p.startBinary(t)
	awaitThat(t, "the metrics listen", func() bool {
		for line := range strings.Lines(logOf(t, p.program)) {
			var entry struct{ Msg, Listener, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" && entry.Listener == "metrics" {
				p.metrics = entry.Address
			}
		}
		return p.metrics != ""
	})
}

// resident is the memory of the process.
func (p *ports) resident(t *testing.T) int { return p.metric(t, "process_resident_memory_bytes") }

// metric is a figure of the process without labels.
func (p *ports) metric(t *testing.T, name string) int {
	t.Helper()
	_, text := httpGet(t, "http://"+p.metrics+"/metrics")
	for line := range strings.Lines(text) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(value)
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// fieldsOfCheck are the header fields of a gRPC call.
func fieldsOfCheck(path string) []string {
	return []string{":method", "POST", ":scheme", "http", ":path", path, ":authority", "extauthz", "content-type", "application/grpc", "te", "trailers"}
}

// question is a check that is allowed, as a gRPC message.
func (p *ports) question(t *testing.T) []byte {
	t.Helper()
	bearer := strings.TrimPrefix(p.bearer(t), "Authorization: ")
	message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Method: http.MethodGet, Path: "/orders/1", Host: "service.example", Scheme: "http",
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "authorization", RawValue: []byte(bearer)}}},
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	n := len(message)
	return append([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, message...)
}

// ask makes a call on a connection of its own. allowed: Check was reached, and answered OK.
func (p *ports) ask(t *testing.T, path string, message []byte) (a rawhttp.Answer, allowed bool) {
	t.Helper()
	c := rawhttp.Dial2(t, "unix", p.socket)
	defer c.Close()
	if err := c.Open(1, false, fieldsOfCheck(path)...); err != nil {
		return a, false
	}
	for ; len(message) > http2MaxFrame; message = message[http2MaxFrame:] {
		if c.WriteData(1, false, message[:http2MaxFrame]) != nil {
			break
		}
	}
	_ = c.WriteData(1, true, message)
	a, err := c.Answer(1)
	if err != nil || a.Header.Get("Grpc-Status") != "0" || len(a.Body) < 5 {
		return a, false
	}
	var answer authv3.CheckResponse
	return a, proto.Unmarshal([]byte(a.Body[5:]), &answer) == nil && answer.GetOkResponse() != nil
}

const http2MaxFrame = 16 << 10

// A path without its slash was another path to whoever guards methods by name than to whoever finds them (grpc-go).
func TestAdvisoryOfMethodNames(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-33186", testMethodNames)
	t.Run("CVE-2024-47616", func(t *testing.T) { // Pomerium: a token that was good for something reached what is inside. There is nothing inside
		p := startPorts(t)
		message := p.question(t)
		for _, path := range []string{
			"/databroker.DataBrokerService/Query", "/envoy.service.auth.v3.Authorization/Admin", "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
			"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.channelz.v1.Channelz/GetServers", "/debug/pprof/", "/metrics", "/debug/decision/1",
		} {
			if a, allowed := p.ask(t, path, message); allowed || a.Header.Get("Grpc-Status") != "12" {
				t.Errorf("%s: %+v, want UNIMPLEMENTED", path, a)
			}
		}
		if a, allowed := p.ask(t, checkPath, message); !allowed {
			t.Errorf("a good call: %+v", a)
		}
	})
}

func testMethodNames(t *testing.T) {
	p := startPorts(t)
	message := p.question(t)
	if a, allowed := p.ask(t, checkPath, message); !allowed {
		t.Fatalf("a good call: %+v", a)
	}
	for _, path := range []string{
		checkPath[1:], "/" + checkPath, checkPath + "/", checkPath + "?x", "/x/.." + checkPath, strings.ToLower(checkPath), strings.Replace(checkPath, "/Check", "%2FCheck", 1),
		"", "/", "*", "Check", "/Check", "http://extauthz" + checkPath, checkPath + "\x00", "/envoy.service.auth.v2.Authorization/Check",
	} {
		if a, allowed := p.ask(t, path, message); allowed || a.Header.Get("Grpc-Status") == "0" {
			t.Errorf("%q reached a method: %+v", path, a)
		}
	}
	if a, allowed := p.ask(t, checkPath, message); !allowed {
		t.Errorf("afterwards: %+v", a)
	}
}

// attack sends frames until the other side has had enough, or all are sent.
type attack struct {
	name   string
	closes bool // the server must end the connection
	send   func(c *rawhttp.Conn2) error
}

// repeat sends a frame n times, with the reply of the server unread.
func repeat(n int, frame func(i int) error) error {
	for i := range n {
		if err := frame(i); err != nil {
			return err
		}
	}
	return nil
}

// isClosed reads what was left unread, and waits for the end.
func isClosed(c *rawhttp.Conn2) bool {
	_ = c.SetDeadline(time.Now().Add(edgeWait))
	_, err := io.Copy(io.Discard, c.Conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func attacks() []attack {
	odd := func(i int) uint32 { return uint32(2*i + 1) }
	open := func(c *rawhttp.Conn2, stream uint32, end bool) error {
		return c.Open(stream, end, fieldsOfCheck(checkPath)...)
	}
	begin := func(c *rawhttp.Conn2) error { // a header block that is not ended
		return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.Block(fieldsOfCheck(checkPath)...)})
	}
	return []attack{
		{"CVE-2023-44487", false, func(c *rawhttp.Conn2) error { // rapid reset
			return repeat(20000, func(i int) error {
				if err := open(c, odd(i), false); err != nil {
					return err
				}
				return c.WriteRSTStream(odd(i), http2.ErrCodeCancel)
			})
		}},
		{"GHSA-hrxh-6v49-42gf", false, func(c *rawhttp.Conn2) error { // the server resets: an update of nothing is an error of the stream
			return repeat(20000, func(i int) error {
				if err := open(c, odd(i), false); err != nil {
					return err
				}
				return c.WriteRawFrame(http2.FrameWindowUpdate, 0, odd(i), []byte{0, 0, 0, 0})
			})
		}},
		{"streams that are never ended", false, func(c *rawhttp.Conn2) error {
			return repeat(5000, func(i int) error { return open(c, odd(i), false) })
		}},
		{"messages of 4 GiB that do not come", false, func(c *rawhttp.Conn2) error {
			return repeat(200, func(i int) error {
				if err := open(c, odd(i), false); err != nil {
					return err
				}
				return c.WriteData(odd(i), false, []byte{0, 0xff, 0xff, 0xff, 0xff})
			})
		}},
		{"CVE-2023-45288", true, func(c *rawhttp.Conn2) error { // CONTINUATION of 16 KiB
			if err := begin(c); err != nil {
				return err
			}
			block := c.Block("x-odd", strings.Repeat("{", http2MaxFrame/2)) // what Huffman coding would make longer
			return repeat(attackBytes/len(block), func(int) error { return c.WriteContinuation(1, false, block) })
		}},
		{"CONTINUATION of nothing", false, func(c *rawhttp.Conn2) error {
			if err := begin(c); err != nil {
				return err
			}
			return repeat(200000, func(int) error { return c.WriteContinuation(1, false, nil) })
		}},
		{"one field, referred to thousands of times", false, func(c *rawhttp.Conn2) error {
			first := c.Block(append(fieldsOfCheck(checkPath), "x-odd", strings.Repeat("a", 3000))...)
			block := append(first, strings.Repeat("\xbe", 12000)...) // the newest entry of the dynamic table (RFC 7541 s2.3.3)
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
		}},
		{"SETTINGS", false, func(c *rawhttp.Conn2) error {
			return repeat(500000, func(i int) error {
				return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
			})
		}},
		{"PING", true, func(c *rawhttp.Conn2) error {
			go io.Copy(io.Discard, c.Conn) // until the connection ends
			return repeat(500000, func(int) error { return c.WritePing(false, [8]byte{1}) })
		}},
		{"PING, and nobody reads the answers", false, func(c *rawhttp.Conn2) error { // as many as the sockets hold
			return repeat(500000, func(int) error { return c.WritePing(false, [8]byte{1}) })
		}},
		{"PRIORITY", false, func(c *rawhttp.Conn2) error {
			return repeat(200000, func(i int) error { return c.WritePriority(odd(i), http2.PriorityParam{Weight: 1}) })
		}},
		{"WINDOW_UPDATE", false, func(c *rawhttp.Conn2) error {
			return repeat(200000, func(int) error { return c.WriteWindowUpdate(0, 1) })
		}},
		{"empty DATA", false, func(c *rawhttp.Conn2) error {
			if err := open(c, 1, false); err != nil {
				return err
			}
			return repeat(200000, func(int) error { return c.WriteData(1, false, nil) })
		}},
		{"frames nobody knows", false, func(c *rawhttp.Conn2) error {
			return repeat(4000, func(int) error { return c.WriteRawFrame(0xfa, 0, 0, make([]byte, http2MaxFrame)) })
		}},
		{"no HTTP/2", true, func(c *rawhttp.Conn2) error {
			return repeat(1<<20, func(int) error {
				_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				return err
			})
		}},
	}
}

// Whoever reaches the port gets no more than answers: the process lives, it grows by little, and other connections are served meanwhile.
func TestEdgePortUnderAttack(t *testing.T) {
	t.Parallel()
	p := startPorts(t)
	message := p.question(t)
	if a, allowed := p.ask(t, checkPath, message); !allowed {
		t.Fatalf("a good call: %+v", a)
	}
	for _, attack := range attacks() {
		t.Run(attack.name, func(t *testing.T) { p.attacked(t, attack, message) })
	}
	select {
	case <-p.program.Exited():
		t.Fatalf("the process ended: %s", logOf(t, p.program))
	default:
	}
	if text := logOf(t, p.program); strings.Contains(text, "panic") {
		t.Errorf("log: %s", text)
	}
}

// attacked lets one attack happen beside good calls.
func (p *ports) attacked(t *testing.T, attack attack, message []byte) {
	t.Helper()
	before := p.resident(t)
	ended := make(chan error, 1)
	c := rawhttp.Dial2(t, "unix", p.socket)
	_ = c.SetDeadline(time.Now().Add(attackFor))
	go func() { ended <- attack.send(c) }()
	var err error
	for asked, under := 0, true; under || asked == 0; asked++ {
		if a, allowed := p.ask(t, checkPath, message); !allowed {
			t.Errorf("another connection gets %+v", a)
		}
		select {
		case err = <-ended:
			under = false
		default:
		}
	}
	after := p.resident(t)
	t.Logf("%d MiB, then %d MiB; %v", before>>20, after>>20, err)
	if attack.closes && !isClosed(c) {
		t.Error("the connection is still there")
	}
	if after > before+growthMax {
		t.Errorf("the process grew from %d to %d bytes", before, after)
	}
	c.Close()
}
