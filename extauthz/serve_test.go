package extauthz

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
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
		return serve(ctx, server, health.NewServer(), []namedListener{{l, "tcp"}}, Process{Log: slog.New(slog.DiscardHandler)})
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
