// Package lifecycle starts and stops the parts of a daemon.
package lifecycle

import (
	"context"
	"time"
)

// Service is a part with its own goroutine. Run returns when ctx ends (nil) or when it cannot go on (error).
type Service struct {
	Name string
	Run  func(ctx context.Context) error
}

// Run runs all services until ctx ends or one returns; then the others are cancelled in reverse order, each waited for at most drain. The first error wins.
func Run(ctx context.Context, drain time.Duration, services ...Service) error { panic("contract") }

// SignalContext ends at the first SIGINT or SIGTERM; a second one exits the process.
func SignalContext(parent context.Context) (context.Context, context.CancelFunc) { panic("contract") }
