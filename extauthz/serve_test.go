package extauthz

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agentidp/agentidp/extauthz/internal/unary"
)

// A SIGTERM can come between listening and serving: gRPC then refuses to serve, and that is no failure. Without one it is.
func TestServeThatEndsBeforeItBegan(t *testing.T) {
	t.Parallel()
	serveStopped := func(ctx context.Context) error {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := NewGRPCServer(newEdge(t, denyingNothing, nil).Server, func() error { return nil })
		server.Stop()
		f := &front{server: server, listeners: []namedListener{{l, "tcp"}}, linger: func() {}, process: Process{Log: slog.New(slog.DiscardHandler)}}
		return f.serve(ctx)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for range 50 { // both ways of hearing of it
		if err := serveStopped(ended); err != nil {
			t.Fatalf("an orderly end: %v", err)
		}
	}
	if err := serveStopped(t.Context()); !errors.Is(err, unary.ErrStopped) {
		t.Errorf("a server that stopped by itself: %v", err)
	}
}

// slow is a method whose calls last until they are let go.
func slow(entered chan<- struct{}, leave <-chan struct{}) unary.Method {
	return func(*unary.Call) ([]byte, unary.Code, unary.Later) {
		return nil, unary.OK, func(context.Context) ([]byte, unary.Code) {
			entered <- struct{}{}
			<-leave
			return nil, unary.OK
		}
	}
}

// From the end that is asked for on: health checks are told at once, new connections are answered while the process lingers, and what is in
// flight is finished.
func TestServeLingersAndFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, leave, lingering, linger := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}), make(chan struct{})
	f := &front{
		listeners: []namedListener{{l, "tcp"}}, loaded: func() error { return nil },
		linger: func() { close(lingering); <-linger }, process: Process{Log: slog.New(slog.DiscardHandler)},
	}
	config := newEdge(t, denyingNothing, nil).grpcConfig(f.ready)
	config.Methods["/slow/Call"] = slow(entered, leave)
	f.server = unary.NewServer(config)
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.run(ctx) }()
	client := func() *grpc.ClientConn {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	asking, called := client(), make(chan error, 1)
	go func() { called <- asking.Invoke(t.Context(), "/slow/Call", &emptypb.Empty{}, &emptypb.Empty{}) }()
	<-entered
	if err := f.ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	end()
	<-lingering
	if err := f.ready(); err == nil {
		t.Error("ready, though the end was asked for")
	}
	answer, err := healthv1.NewHealthClient(client()).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health on a new connection: %v, %v", answer, err)
	}
	close(linger)
	for { // until it accepts no more
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		conn.Close()
	}
	close(leave)
	if err := <-called; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("run = %v", err)
	}
}
