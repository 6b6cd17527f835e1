package extauthz

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
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
		server := grpc.NewServer()
		server.Stop()
		f := &front{server: server, health: health.NewServer(), listeners: []namedListener{{l, "tcp"}}, linger: func() {}, process: Process{Log: slog.New(slog.DiscardHandler)}}
		return f.serve(ctx)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for range 50 { // both ways of hearing of it
		if err := serveStopped(ended); err != nil {
			t.Fatalf("an orderly end: %v", err)
		}
	}
	if err := serveStopped(t.Context()); !errors.Is(err, grpc.ErrServerStopped) {
		t.Errorf("a server that stopped by itself: %v", err)
	}
}

// slow is a service whose calls last until they are let go.
func slow(entered chan<- struct{}, leave <-chan struct{}) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{ServiceName: "slow", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Call",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in emptypb.Empty
			if err := decode(&in); err != nil {
				return nil, err
			}
			entered <- struct{}{}
			<-leave
			return &in, nil
		},
	}}}
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
		server: grpc.NewServer(), health: health.NewServer(), listeners: []namedListener{{l, "tcp"}}, loaded: func() error { return nil },
		linger: func() { close(lingering); <-linger }, process: Process{Log: slog.New(slog.DiscardHandler)},
	}
	f.server.RegisterService(slow(entered, leave), nil)
	healthv1.RegisterHealthServer(f.server, f.health)
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
