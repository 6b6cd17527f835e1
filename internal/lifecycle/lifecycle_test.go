package lifecycle

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStopsInReverseOrder(t *testing.T) {
	t.Parallel()
	var order []string
	service := func(name string) Service {
		return Service{name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // ordered by Run: one stops before the next is asked to
			return nil
		}}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, time.Minute, service("store"), service("server"), service("debug")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "debug server store" {
		t.Errorf("stopped in order %q", got)
	}
}

func TestOneFailureStopsAll(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	stopped := false
	err := Run(t.Context(), time.Minute,
		Service{"store", func(ctx context.Context) error { <-ctx.Done(); stopped = true; return ctx.Err() }},
		Service{"server", func(context.Context) error { return boom }},
	)
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "server: boom") {
		t.Errorf("Run = %v, want it to name the server and its error", err)
	}
	if strings.Contains(err.Error(), "store") {
		t.Errorf("Run = %v: a service that ended because it was told to is no failure", err)
	}
	if !stopped {
		t.Error("the store was left running")
	}
}

func TestFinishingEarlyIsAFailure(t *testing.T) {
	t.Parallel()
	err := Run(t.Context(), time.Minute, Service{"feed", func(context.Context) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "feed: finished early") {
		t.Errorf("Run = %v", err)
	}
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		err := Run(ctx, 5*time.Second, Service{"stuck", func(context.Context) error { <-release; return nil }})
		if !errors.Is(err, ErrDrain) || !strings.Contains(err.Error(), "stuck") {
			t.Errorf("Run = %v, want it to name the stuck service", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("waited %v", took)
		}
		close(release)
		synctest.Wait()
	})
}

func TestSignals(t *testing.T) {
	exited := make(chan int, 1)
	hungUp := make(chan struct{}, 1)
	ctx, cancel := signalContext(t.Context(), func(code int) { exited <- code }, func() { hungUp <- struct{}{} })
	defer cancel()
	self := syscall.Getpid()
	hangUp := func() {
		t.Helper()
		if err := syscall.Kill(self, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-hungUp
	}
	hangUp()
	if ctx.Err() != nil {
		t.Error("SIGHUP ends the process")
	}
	if err := syscall.Kill(self, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	hangUp() // is no second request to end
	if err := syscall.Kill(self, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := <-exited; code != 130 {
		t.Errorf("second signal exits with %d", code)
	}
}
