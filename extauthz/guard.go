package extauthz

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
)

// Guard is the last fence before the wire, a grpc.UnaryServerInterceptor. What is not an explicit OK in time, or an
// explicit denial (or the resource's metadata), becomes a 503 denial: nothing (which Envoy reads as OK), a mixture, an error (which failure_mode_allow
// would turn into OK), a panic (which would end the process). Check never returns any of those; Guard does not rely on it,
// and reads the very bytes that are sent.
// Methods of other services are only kept from ending the process.
func (s *Server) Guard(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (out any, err error) {
	isCheck := info.FullMethod == checkMethod
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.metrics.panics.Inc()
		s.options.Log.Error("handler panicked", "method", info.FullMethod, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		out, err = nil, status.Error(codes.Internal, "internal error")
		if isCheck {
			out, err = s.replacement(), nil
		}
	}()
	out, err = next(ctx, in)
	if !isCheck {
		return out, err
	}
	answer, ok := out.([]byte)
	allows, explicit := checkresp.Explicit(answer)
	explicit = explicit || s.resource.answers(answer)
	if err != nil || !ok || !explicit || allows && late(ctx, time.Now()) {
		return s.replacement(), nil
	}
	return out, nil
}

func (s *Server) replacement() []byte {
	s.metrics.replaced.Inc()
	return checkresp.Answer{}.Wire()
}

// sampler lets one event a second through: what a broken policy would log with each request tells nothing new.
type sampler struct{ last atomic.Int64 }

func (s *sampler) take(now time.Time) bool {
	last, t := s.last.Load(), now.UnixNano()
	return (t-last >= int64(time.Second) || t < last) && s.last.CompareAndSwap(last, t)
}
