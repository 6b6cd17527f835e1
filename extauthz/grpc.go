package extauthz

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
)

// Limits of the gRPC server; docs/limits.md lists them for operators.
const (
	messageBytesHard     = 1 << 20  // a check above checkreq.MessageBytesMax is denied; above this it is not received at all
	answerBytesMax       = 64 << 10 // what checkresp can build is far below
	streamsMax           = 250      // checks in flight on one connection; Envoy opens one connection per worker thread
	streamWorkers        = 32       // goroutines that keep their grown stacks: a third less CPU per check than one goroutine each
	metadataBytesMax     = 16 << 10 // HTTP/2 headers of the gRPC call itself
	handshakeTimeout     = 5 * time.Second
	keepaliveMin         = 10 * time.Second // clients that ping more often are disconnected
	keepaliveEvery       = 30 * time.Second // we ping an idle Envoy, to notice one that is gone
	keepaliveAnswerUntil = 10 * time.Second
)

// Names of Envoy's service (envoy/service/auth/v3/external_auth.proto).
const (
	serviceName = "envoy.service.auth.v3.Authorization"
	checkMethod = "/" + serviceName + "/Check"
)

// service is served without Envoy's message types: linking them would cost a sidecar several megabytes, and building them
// a third of the processor time of a check (docs/adr/0018).
var service = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*interface {
		Check(context.Context, []byte) checkresp.Answer
	})(nil),
	Methods:  []grpc.MethodDesc{{MethodName: "Check", Handler: handleCheck}},
	Metadata: "envoy/service/auth/v3/external_auth.proto",
}

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
	server.RegisterService(&service, s)
	return server
}

// received is a check as it came. Its bytes may be gRPC's, to be given back.
type received struct{ message mem.Buffer }

// codec passes checks and answers as bytes, and everything else (health) as protobuf does. Nothing about a check can fail
// here: one that does not decode (a header that is not UTF-8 in a text field, CVE-2023-27488) or is too large is denied by
// Check, as requests nobody can read are. Else gRPC would answer with an error on our behalf, and leave the decision to
// failure_mode_allow.
type codec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	check, ok := v.(*received)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	check.message = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if answer, ok := v.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(answer)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// handleCheck does what a generated handler does, with bytes.
func handleCheck(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var in received
	if err := decode(&in); err != nil {
		return nil, err // the stream is gone, or the message above messageBytesHard: gRPC has answered
	}
	defer in.message.Free()
	check := func(ctx context.Context, in any) (any, error) {
		return srv.(*Server).Check(ctx, in.([]byte)).Wire(), nil
	}
	return intercept(ctx, in.message.ReadOnlyData(), &grpc.UnaryServerInfo{Server: srv, FullMethod: checkMethod}, check)
}
