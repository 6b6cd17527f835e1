// Package lifecycle starts and stops the parts of a daemon.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Service is one part of a daemon with its own goroutine.
type Service struct {
	Name string
	// Run returns nil after ctx ended, or an error when it cannot go on. A Run that returns nil while ctx is still alive has finished early,
	// which stops the daemon as an error does: a part nobody needs would not be there.
	Run func(ctx context.Context) error
}

// ErrDrain is wrapped by Run when a service did not stop within its drain time.
var ErrDrain = errors.New("did not stop in time")

// Run runs all services until ctx ends or one of them returns. Then they are stopped one after the other, last started first, each given at most drain to finish:
// what is listed first may be used by what is listed later until the end. The first failure is returned; a service that
// ignores its context is abandoned and reported, so that a daemon always exits.
func Run(ctx context.Context, drain time.Duration, services ...Service) error {
	type exit struct {
		index int
		err   error
	}
	exits := make(chan exit, len(services))
	cancels := make([]context.CancelFunc, len(services))
	done := make([]chan struct{}, len(services))
	for i, s := range services {
		// Detached from ctx: the end of ctx must reach the services in reverse order, not all at once.
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancels[i], done[i] = cancel, make(chan struct{})
		go func() {
			defer close(done[i])
			exits <- exit{i, s.Run(own)}
		}()
	}

	var errs []error
	select {
	case <-ctx.Done():
	case e := <-exits:
		err := e.err
		if err == nil {
			err = errors.New("finished early")
		}
		errs = append(errs, fmt.Errorf("%s: %w", services[e.index].Name, err))
	}

	for i := len(services) - 1; i >= 0; i-- {
		cancels[i]()
		timeout := time.NewTimer(drain)
		select {
		case <-done[i]:
		case <-timeout.C:
			errs = append(errs, fmt.Errorf("%s: %w (%s)", services[i].Name, ErrDrain, drain))
		}
		timeout.Stop()
	}
	for {
		select {
		case e := <-exits:
			if e.err != nil && !errors.Is(e.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s: %w", services[e.index].Name, e.err))
			}
		default:
			return errors.Join(errs...)
		}
	}
}

// SignalContext ends at the first SIGINT or SIGTERM. A second one exits the process at once with status 130: an operator who asks twice is not kept waiting.
// SIGHUP, which asks other daemons to read their files again, does nothing but say so in the log of slog.Default.
func SignalContext(parent context.Context) (context.Context, context.CancelFunc) {
	return signalContext(parent, os.Exit, func() {
		slog.Info("SIGHUP does nothing: keys, policies and certificates are followed as their files change, the configuration is read at the start")
	})
}

func signalContext(parent context.Context, exit func(int), hungUp func()) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Notify(hangups, syscall.SIGHUP)
	stopped := make(chan struct{})
	go func() {
		for asked := false; ; {
			select {
			case <-hangups:
				hungUp()
			case <-signals:
				if asked {
					exit(130)
				}
				asked = true
				cancel()
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(hangups)
		select {
		case <-stopped:
		default:
			close(stopped)
		}
		cancel()
	}
}
