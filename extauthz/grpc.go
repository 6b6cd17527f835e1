package extauthz

import (
	"context"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
)

// Limits of the gRPC server; docs/limits.md lists them for operators.
const (
	messageBytesMax      = 256 << 10 // a CheckRequest: 60 KiB of headers, a certificate, a body if Envoy sends one; more is denied
	messageBytesHard     = 1 << 20   // more is not received at all
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
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}),
		grpc.MaxRecvMsgSize(messageBytesHard),
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

// received is a check as it came: nil when it cannot be read.
type received struct{ request *authv3.CheckRequest }

// codec is the protobuf codec but for checks that do not decode (a header that is not UTF-8 in a text field,
// CVE-2023-27488) or are too large. They are answered, as requests nobody can read are: denied. gRPC would answer with an
// error on our behalf, and leave the decision to failure_mode_allow.
type codec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	check, ok := v.(*received)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if data.Len() <= messageBytesMax {
		check.request = c.decode(data)
	}
	return nil
}

// decode returns nil for what is no CheckRequest. It runs before Guard, hence its own recover.
func (c codec) decode(data mem.BufferSlice) (in *authv3.CheckRequest) {
	defer func() {
		if recover() != nil {
			in = nil
		}
	}()
	in = &authv3.CheckRequest{}
	if c.CodecV2.Unmarshal(data, in) != nil {
		return nil
	}
	return in
}

// handleCheck does what the generated handler does, with the message codec leaves.
func handleCheck(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var in received
	if err := decode(&in); err != nil {
		return nil, err // the stream is gone, or the message above messageBytesHard: gRPC has answered
	}
	check := func(ctx context.Context, in any) (any, error) {
		return srv.(authv3.AuthorizationServer).Check(ctx, in.(*authv3.CheckRequest))
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: authv3.Authorization_Check_FullMethodName}
	return intercept(ctx, in.request, info, check)
}
