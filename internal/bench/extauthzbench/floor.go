package main

import (
	"context"
	"fmt"
	"net"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// floor is the least a server with the standard library of its protocol can do: grpc-go as it comes, the generated
// messages, one answer for all.
type floor struct {
	authv3.UnimplementedAuthorizationServer
}

// Check allows.
func (floor) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}

// serveFloor is the floor as a program of its own, until ctx ends.
func serveFloor(ctx context.Context, socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, floor{})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(l)
}
