package extauthz

import (
	"context"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
)

// Limits of the gRPC server; docs/limits.md lists them for operators.
const (
	receivingBytesMax = 64 << 20         // of checks that are not complete yet, over all connections
	streamsMax        = 250              // checks in flight on one connection; Envoy opens one connection per worker thread
	connectionsMax    = 1024             // Envoys are few; each connection has buffers of about 128 KiB
	streamWorkers     = 32               // goroutines that keep their grown stacks for checks that take work
	metadataBytesMax  = 16 << 10         // HTTP/2 headers of the gRPC call itself
	handshakeTimeout  = 5 * time.Second  // from a connection to its HTTP/2 settings
	receiveTimeout    = 5 * time.Second  // from the headers of a check to its end; Envoy sends both at once
	idlePing          = 30 * time.Second // we ping an idle Envoy, to notice one that is gone
	pingTimeout       = 10 * time.Second
)

// Names of Envoy's service (envoy/service/auth/v3/external_auth.proto) and of gRPC's own (grpc/health/v1/health.proto).
const (
	serviceName  = "envoy.service.auth.v3.Authorization"
	checkMethod  = "/" + serviceName + "/Check"
	healthMethod = "/grpc.health.v1.Health/Check"
)

// NewGRPCServer returns a gRPC server that serves Check behind Guard, and health checks that say what ready says, with every
// limit set. The caller serves and stops it.
func NewGRPCServer(s *Server, ready func() error) *unary.Server {
	return unary.NewServer(s.grpcConfig(ready))
}

func (s *Server) grpcConfig(ready func() error) unary.Config {
	return unary.Config{
		Methods:         map[string]unary.Method{checkMethod: s.serveCheck, healthMethod: serveHealth(ready)},
		MessageBytesMax: checkreq.MessageBytesMax, ReceivingBytesMax: receivingBytesMax,
		StreamsMax: streamsMax, ConnectionsMax: connectionsMax, HeaderBytesMax: metadataBytesMax,
		HandshakeTimeout: handshakeTimeout, ReceiveTimeout: receiveTimeout, IdlePing: idlePing, PingTimeout: pingTimeout, Workers: streamWorkers,
		Panicked: s.panicked,
	}
}

// serveCheck answers from what is remembered, and hands on what takes work. Nothing about a check can fail here: one that does not
// decode (a header that is not UTF-8 in a text field, CVE-2023-27488), is too large or is no gRPC message is denied, as requests
// nobody can read are. An error instead of an answer would leave the decision to failure_mode_allow.
func (s *Server) serveCheck(in *unary.Call) (wire []byte, code unary.Code, later unary.Later) {
	defer s.guard(&wire)
	ctx := atOnce{in}
	answer, open := s.checkRemembered(ctx, in)
	if open == nil {
		return s.fence(ctx, answer.Wire()), unary.OK, nil
	}
	return nil, unary.OK, func(ctx context.Context) ([]byte, unary.Code) {
		return s.Guard(ctx, func(ctx context.Context) []byte { return s.checkOn(ctx, open).Wire() }), unary.OK
	}
}

// atOnce is the context of a call that is answered while nothing else is read: nobody can cancel it meanwhile.
type atOnce struct{ call *unary.Call }

// Deadline implements context.Context, as do the others.
func (c atOnce) Deadline() (time.Time, bool) { return c.call.Deadline, !c.call.Deadline.IsZero() }
func (atOnce) Done() <-chan struct{}         { return nil }
func (atOnce) Value(any) any                 { return nil }
func (c atOnce) Err() error {
	if at, ok := c.Deadline(); ok && !time.Now().Before(at) {
		return context.DeadlineExceeded
	}
	return nil
}

// Health states (grpc.health.v1.HealthCheckResponse.ServingStatus), and the fields they come and go in.
const (
	healthService    = 1
	healthStatus     = 1
	healthServing    = 1
	healthNotServing = 2
)

// serveHealth answers for the process and for Envoy's service. Watch is not implemented, as gRPC's health protocol allows.
func serveHealth(ready func() error) unary.Method {
	return func(in *unary.Call) ([]byte, unary.Code, unary.Later) {
		switch in.Fault {
		case unary.FaultNone:
		case unary.FaultOverload:
			return nil, unary.Unavailable, nil
		default:
			return nil, unary.Internal, nil
		}
		var service string
		for b := in.Message; len(b) > 0; {
			number, kind, n := protowire.ConsumeTag(b)
			if n < 0 {
				return nil, unary.Internal, nil
			}
			value := protowire.ConsumeFieldValue(number, kind, b[n:])
			if value < 0 {
				return nil, unary.Internal, nil
			}
			if number == healthService && kind == protowire.BytesType {
				text, _ := protowire.ConsumeBytes(b[n:])
				service = string(text)
			}
			b = b[n+value:]
		}
		if service != "" && service != serviceName {
			return nil, unary.NotFound, nil
		}
		status := uint64(healthServing)
		if ready() != nil {
			status = healthNotServing
		}
		return protowire.AppendVarint(protowire.AppendTag(nil, healthStatus, protowire.VarintType), status), unary.OK, nil
	}
}
