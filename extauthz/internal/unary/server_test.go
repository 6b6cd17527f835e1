package unary_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agentidp/agentidp/extauthz/internal/unary"
	"github.com/agentidp/agentidp/internal/testkit"
)

const wait = 30 * time.Second // for what comes at once on a machine that is not busy

// methods of the servers under test.
func methods() map[string]unary.Method {
	return map[string]unary.Method{
		"/t/Echo": func(c *unary.Call) ([]byte, unary.Code, unary.Later) { return bytes.Clone(c.Message), unary.OK, nil },
		"/t/Work": func(c *unary.Call) ([]byte, unary.Code, unary.Later) {
			message := bytes.Clone(c.Message)
			return nil, unary.OK, func(context.Context) ([]byte, unary.Code) { return message, unary.OK }
		},
		"/t/Size": func(c *unary.Call) ([]byte, unary.Code, unary.Later) {
			return bytes.Repeat([]byte{'x'}, int(c.Message[0])<<10), unary.OK, nil
		},
		"/t/Fault": func(c *unary.Call) ([]byte, unary.Code, unary.Later) {
			return []byte{byte('0' + c.Fault)}, unary.OK, nil
		},
		"/t/Trace": func(c *unary.Call) ([]byte, unary.Code, unary.Later) {
			return []byte(c.TraceParent + " " + c.TraceState), unary.OK, nil
		},
		"/t/Deadline": func(c *unary.Call) ([]byte, unary.Code, unary.Later) {
			return []byte(time.Until(c.Deadline).String()), unary.OK, nil
		},
		"/t/NotFound": func(*unary.Call) ([]byte, unary.Code, unary.Later) { return nil, unary.NotFound, nil },
		"/t/Panic":    func(*unary.Call) ([]byte, unary.Code, unary.Later) { panic("fault") },
		"/t/WorkPanic": func(*unary.Call) ([]byte, unary.Code, unary.Later) {
			return nil, unary.OK, func(context.Context) ([]byte, unary.Code) { panic("fault") }
		},
	}
}

func config() unary.Config {
	return unary.Config{
		Methods: methods(), MessageBytesMax: 256 << 10, ReceivingBytesMax: 1 << 20, StreamsMax: 100, ConnectionsMax: 100, HeaderBytesMax: 16 << 10,
		HandshakeTimeout: wait, ReceiveTimeout: wait, IdlePing: wait, PingTimeout: wait, Workers: 2, Panicked: func(string, any, []byte) {},
	}
}

// serve starts a server; it is stopped when the test ends.
func serve(t testing.TB, c unary.Config) (*unary.Server, net.Addr) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(testkit.SocketDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, c, l), l.Addr()
}

func serveOn(t testing.TB, c unary.Config, l net.Listener) *unary.Server {
	t.Helper()
	s := unary.NewServer(c)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; !errors.Is(err, unary.ErrStopped) {
			t.Errorf("Serve = %v", err)
		}
	})
	return s
}

// client is grpc-go.
func client(t testing.TB, a net.Addr, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+a.String(), append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("t"),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(1<<24)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, a.Network(), a.String())
		}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// raw is a codec for bytes.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
func (raw) Name() string { return "proto" }

func call(t testing.TB, conn *grpc.ClientConn, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	t.Helper()
	return callIn(t.Context(), conn, method, message, options...)
}

func callIn(ctx context.Context, conn *grpc.ClientConn, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	var answer []byte
	err := conn.Invoke(ctx, method, message, &answer, options...)
	return answer, err
}

func TestCalls(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	conn := client(t, a)
	for _, size := range []int{0, 1, 5, 1 << 10, 16<<10 - 5, 16<<10 - 4, 16 << 10, 100 << 10, 256 << 10} {
		message := bytes.Repeat([]byte{'m'}, size)
		for _, method := range []string{"/t/Echo", "/t/Work"} {
			if size > 16<<10 && method == "/t/Work" {
				continue
			}
			if got, err := call(t, conn, method, message); err != nil || !bytes.Equal(got, message) {
				t.Errorf("%s of %d bytes: %d bytes, %v", method, size, len(got), err)
			}
		}
	}
	for method, want := range map[string]codes.Code{"/t/NotFound": codes.NotFound, "/t/None": codes.Unimplemented, "/x": codes.Unimplemented} {
		if _, err := call(t, conn, method, nil); status.Code(err) != want {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// Answers beyond the client's windows (64 KiB) wait for them, and nothing is lost or mixed up.
func TestAnswersThatWaitForWindows(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	conn := client(t, a, grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			kilobytes := 1 + i*6
			got, err := call(t, conn, "/t/Size", []byte{byte(kilobytes)})
			if err != nil || len(got) != kilobytes<<10 || strings.Trim(string(got), "x") != "" {
				t.Errorf("%d bytes of %d KiB, %v", len(got), kilobytes, err)
			}
		})
	}
	group.Wait()
}

func TestManyCallersAtOnce(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	var group sync.WaitGroup
	for range 4 {
		conn := client(t, a)
		for i := range 150 { // more than StreamsMax
			group.Go(func() {
				message := bytes.Repeat([]byte{byte(i)}, i*7)
				for _, method := range []string{"/t/Echo", "/t/Work"} {
					if got, err := call(t, conn, method, message); err != nil || !bytes.Equal(got, message) {
						t.Errorf("%s: %d bytes of %d, %v", method, len(got), len(message), err)
					}
				}
			})
		}
	}
	group.Wait()
}

func TestFaults(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	conn := client(t, a)
	for name, c := range map[string]struct {
		message []byte
		option  grpc.CallOption
		want    unary.Fault
	}{
		"good":         {make([]byte, 256<<10), grpc.EmptyCallOption{}, unary.FaultNone},
		"one too much": {make([]byte, 256<<10+1), grpc.EmptyCallOption{}, unary.FaultTooLarge},
		"far too much": {make([]byte, 8<<20), grpc.EmptyCallOption{}, unary.FaultTooLarge},
		"compressed":   {make([]byte, 1000), grpc.UseCompressor(gzip.Name), unary.FaultMalformed},
	} {
		if got, err := call(t, conn, "/t/Fault", c.message, c.option); err != nil || string(got) != string(rune('0'+c.want)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := call(t, conn, "/t/Echo", []byte("still")); err != nil || string(got) != "still" {
		t.Errorf("then: %q, %v", got, err)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	_, a := serve(t, config())
	conn := client(t, a)
	for name, c := range map[string]struct {
		md   metadata.MD
		want string
	}{
		"none":   {nil, " "},
		"both":   {metadata.Pairs("traceparent", "p", "tracestate", "s"), "p s"},
		"states": {metadata.Pairs("traceparent", "p", "tracestate", "s", "tracestate", "t"), "p s,t"},
		"twice":  {metadata.Pairs("traceparent", "p", "traceparent", "q"), " "},
	} {
		if got, err := callIn(metadata.NewOutgoingContext(t.Context(), c.md), conn, "/t/Trace", nil); err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	got, err := callIn(ctx, conn, "/t/Deadline", nil)
	left, bad := time.ParseDuration(string(got))
	if err != nil || bad != nil || left > time.Hour || left < time.Hour-wait {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPanicsEndACallAndNothingElse(t *testing.T) {
	t.Parallel()
	var panics atomic.Int32
	c := config()
	c.Panicked = func(path string, value any, stack []byte) {
		if strings.HasSuffix(path, "Panic") && value == "fault" && strings.Contains(string(stack), "server_test.go") {
			panics.Add(1)
		}
	}
	_, a := serve(t, c)
	conn := client(t, a)
	for _, method := range []string{"/t/Panic", "/t/WorkPanic", "/t/Panic"} {
		if _, err := call(t, conn, method, nil); status.Code(err) != codes.Internal {
			t.Errorf("%s: %v", method, err)
		}
	}
	if got, err := call(t, conn, "/t/Echo", []byte("alive")); err != nil || string(got) != "alive" || panics.Load() != 3 {
		t.Errorf("%q, %v, %d panics", got, err, panics.Load())
	}
}

// A Later hears of its caller's end: by cancellation, by the deadline, by a connection that breaks.
func TestLaterHearsOfTheEnd(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]struct {
		end  func(ctx context.Context, conn *grpc.ClientConn, began <-chan struct{})
		want error
	}{
		"cancelled": {func(ctx context.Context, conn *grpc.ClientConn, began <-chan struct{}) {
			ctx, cancel := context.WithCancel(ctx)
			go func() { <-began; cancel() }()
			_, _ = callIn(ctx, conn, "/t/Wait", nil)
		}, context.Canceled},
		"too late": {func(ctx context.Context, conn *grpc.ClientConn, began <-chan struct{}) {
			for patience := 10 * time.Millisecond; ; patience *= 2 { // until one is sent at all
				ctx, cancel := context.WithTimeout(ctx, patience)
				_, _ = callIn(ctx, conn, "/t/Wait", nil)
				cancel()
				select {
				case <-began:
					return
				default:
				}
			}
		}, nil}, // whoever is first: the client's clock, or ours
		"broken": {func(ctx context.Context, conn *grpc.ClientConn, began <-chan struct{}) {
			go func() { <-began; conn.Close() }()
			_, _ = callIn(ctx, conn, "/t/Wait", nil)
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config()
			began, ended := make(chan struct{}, 100), make(chan error, 100)
			c.Methods["/t/Wait"] = func(*unary.Call) ([]byte, unary.Code, unary.Later) {
				return nil, unary.OK, func(ctx context.Context) ([]byte, unary.Code) {
					began <- struct{}{}
					<-ctx.Done()
					ended <- ctx.Err()
					return nil, unary.OK
				}
			}
			_, a := serve(t, c)
			part.end(t.Context(), client(t, a), began)
			if err := <-ended; err == nil || part.want != nil && !errors.Is(err, part.want) {
				t.Errorf("heard %v", err)
			}
		})
	}
}

// Shutdown loses no call: those in flight end, those that were sent before the client knew are served.
func TestShutdownLosesNothing(t *testing.T) {
	t.Parallel()
	for range 20 { // the moment at which it comes differs
		s, a := serve(t, config())
		conn := client(t, a)
		if _, err := call(t, conn, "/t/Echo", nil); err != nil {
			t.Fatal(err)
		}
		var lost, served atomic.Int32
		enough := make(chan struct{})
		var group sync.WaitGroup
		for i := range 8 {
			method := []string{"/t/Echo", "/t/Work"}[i%2]
			group.Go(func() {
				for {
					_, err := call(t, conn, method, []byte("m"))
					switch {
					case err == nil:
						if served.Add(1) == 100 {
							close(enough)
						}
					case strings.Contains(err.Error(), "dial"): // the listener is closed: nobody else will answer
						return
					default:
						t.Log(err)
						lost.Add(1)
						return
					}
				}
			})
		}
		<-enough
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		s.Shutdown(ctx)
		if ctx.Err() != nil {
			t.Error("Shutdown did not end by itself")
		}
		cancel()
		group.Wait()
		if lost.Load() > 0 {
			t.Fatalf("%d calls of %d were lost", lost.Load(), served.Load())
		}
	}
}

func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	c := config()
	began := make(chan struct{}, 1)
	c.Methods["/t/Wait"] = func(*unary.Call) ([]byte, unary.Code, unary.Later) {
		return nil, unary.OK, func(ctx context.Context) ([]byte, unary.Code) {
			began <- struct{}{}
			<-ctx.Done()
			return nil, unary.OK
		}
	}
	s, a := serve(t, c)
	conn := client(t, a)
	called := make(chan error, 1)
	go func() { _, err := call(t, conn, "/t/Wait", nil); called <- err }()
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(ctx)
	if err := <-called; status.Code(err) != codes.Unavailable {
		t.Errorf("the call that waits: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, unary.ErrStopped) {
		t.Errorf("Serve after the end: %v", err)
	}
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		conn.Close()
		t.Error("the listener was not closed")
	}
}
