package extauthz

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
)

// Guard is the last fence before the wire. What is not an explicit OK in time, or an explicit denial (or the resource's metadata),
// becomes a 503 denial: nothing (which Envoy reads as OK), a mixture, a panic (which would end the process). Check never returns any
// of those; Guard does not rely on it, and reads the very bytes that are sent.
func (s *Server) Guard(ctx context.Context, check func(context.Context) []byte) (wire []byte) {
	defer s.guard(&wire)
	return s.fence(ctx, check(ctx))
}

// guard is deferred by whoever makes a wire.
func (s *Server) guard(wire *[]byte) {
	if p := recover(); p != nil {
		s.panicked(checkMethod, p, debug.Stack())
		*wire = s.replacement()
	}
}

// fence lets through what can be read in one way.
func (s *Server) fence(ctx context.Context, wire []byte) []byte {
	allows, explicit := checkresp.Explicit(wire)
	explicit = explicit || s.resource.answers(wire)
	if !explicit || allows && late(ctx, time.Now()) {
		return s.replacement()
	}
	return wire
}

func (s *Server) panicked(method string, value any, stack []byte) {
	s.metrics.panics.Inc()
	s.options.Log.Error("handler panicked", "method", method, "panic", fmt.Sprint(value), "stack", string(stack))
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
