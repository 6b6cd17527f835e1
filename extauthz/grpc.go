package extauthz

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Limits of the gRPC server; docs/limits.md lists them for operators.
const (
	messageBytesMax      = 256 << 10 // a CheckRequest: 60 KiB of headers, a certificate, a body if Envoy sends one
	answerBytesMax       = 64 << 10  // what checkresp can build is far below
	streamsMax           = 250       // checks in flight on one connection; Envoy opens one connection per worker thread
	streamWorkers        = 32        // goroutines that keep their grown stacks: a third less CPU per check than one goroutine each
	metadataBytesMax     = 16 << 10  // HTTP/2 headers of the gRPC call itself
	handshakeTimeout     = 5 * time.Second
	keepaliveMin         = 10 * time.Second // clients that ping more often are disconnected
	keepaliveEvery       = 30 * time.Second // we ping an idle Envoy, to notice one that is gone
	keepaliveAnswerUntil = 10 * time.Second
)

// NewGRPCServer returns a gRPC server that serves Check behind Guard, with every limit set. The caller registers further
// services (health), and serves and stops it.
func NewGRPCServer(s *Server, extra ...grpc.ServerOption) *grpc.Server {
	options := append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.Guard),
		grpc.MaxRecvMsgSize(messageBytesMax),
		grpc.MaxSendMsgSize(answerBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxHeaderListSize(metadataBytesMax),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveEvery, Timeout: keepaliveAnswerUntil}),
	}, extra...)
	server := grpc.NewServer(options...)
	service := authv3.Authorization_ServiceDesc
	service.Methods = []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}}
	server.RegisterService(&service, s)
	return server
}

// handleCheck is the generated handler but for one thing: a message that does not decode (a header that is not UTF-8 in a
// text field, CVE-2023-27488) is answered, as a request nobody can read is: denied. The generated one returns an error.
func handleCheck(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	in := &authv3.CheckRequest{}
	if err := decode(in); err != nil {
		in = nil
	}
	check := func(ctx context.Context, in any) (any, error) {
		return srv.(authv3.AuthorizationServer).Check(ctx, in.(*authv3.CheckRequest))
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: authv3.Authorization_Check_FullMethodName}
	return intercept(ctx, in, info, check)
}
