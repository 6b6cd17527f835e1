package extauthz

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/listener"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/unary"
	"github.com/agentidp/agentidp/internal/servertls"
)

const (
	drainMax     = 5 * time.Second        // for checks in flight when the end is asked for
	readyPoll    = 100 * time.Millisecond // how late a takeover may learn that everything is loaded
	successorMax = 30 * time.Second       // for a process that is to take over a socket to get ready
)

// namedListener remembers how the configuration wrote an address.
type namedListener struct {
	net.Listener
	name string
}

// openListeners opens all addresses or none. There is TLS on ports when there is a certificate, never on unix sockets.
func openListeners(cfg *Config, certificate *servertls.Certificate) ([]namedListener, error) {
	var opened []namedListener
	for i, name := range cfg.Listen {
		a, err := listener.ParseAddress(name)
		if err == nil {
			var l net.Listener
			if l, err = a.Listen(cfg.SocketMode, cfg.SocketTakeover); err == nil {
				if certificate != nil && a.Network == "tcp" {
					l = tls.NewListener(l, certificate.Config("h2"))
				}
				opened = append(opened, namedListener{l, name})
				continue
			}
		}
		for _, l := range opened {
			l.Close()
		}
		return nil, fmt.Errorf("listen[%d]: %w", i, err)
	}
	return opened, nil
}

// succeeds reports whether there is a process to take over from.
func succeeds(cfg *Config) bool {
	for _, name := range cfg.Listen {
		if path, ok := strings.CutPrefix(name, "unix://"); ok && cfg.SocketTakeover && listener.IsAnswered(path) {
			return true
		}
	}
	return false
}

// front is where checks arrive: listeners, and the gRPC server behind them.
type front struct {
	server    *unary.Server
	loaded    func() error                    // nil once everything is
	open      func() ([]namedListener, error) // called by run, when listeners is nil
	listeners []namedListener
	linger    func()      // from the end that is asked for to the end of new connections
	ending    atomic.Bool // the end is asked for
	process   Process

	clientsKnown bool // whoever connects to a port has shown a certificate
}

var errEnding = errors.New("the process is ending")

// ready is what load balancers and probes are told.
func (f *front) ready() error {
	if f.ending.Load() {
		return errEnding
	}
	return f.loaded()
}

// run serves until ctx ends. Where another process is served by the sockets, they are taken over once everything is loaded: a process that
// cannot decide does not displace one that can.
func (f *front) run(ctx context.Context) error {
	defer f.server.Stop() // which has workers from its beginning
	if f.listeners == nil {
		if err := f.awaitReady(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		var err error
		if f.listeners, err = f.open(); err != nil {
			return err
		}
	}
	return f.serve(ctx)
}

// awaitReady returns nil when everything is loaded, or ctx ends.
func (f *front) awaitReady(ctx context.Context) error {
	f.process.Log.InfoContext(ctx, "another process answers on the socket: it is taken over once everything is loaded", "wait", successorMax.String())
	tick, patience := time.NewTicker(readyPoll), time.NewTimer(successorMax)
	defer tick.Stop()
	defer patience.Stop()
	for {
		err := f.ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-patience.C:
			return fmt.Errorf("the socket was not taken over: not ready after %s: %w", successorMax, err)
		case <-tick.C:
		}
	}
}

// serve answers on all listeners until ctx ends; then it tells health checks, lingers, lets the checks in flight finish, and closes what is
// left after drainMax. A ctx that ends before a listener was served is an orderly end, too: the server then says that it was stopped.
//
// Nothing that was sent is lost: the listeners are closed, GOAWAY names the highest stream number there is (RFC 9113 s6.8), and the real last one
// only when the client has seen the first. Until then streams are opened and answered.
func (f *front) serve(ctx context.Context) error {
	ended := make(chan error, len(f.listeners))
	for _, l := range f.listeners {
		go func() { ended <- f.server.Serve(l) }()
		f.announce(ctx, l)
	}
	running := len(f.listeners)
	var failure error
	note := func(err error) {
		running--
		if failure == nil && !(ctx.Err() != nil && errors.Is(err, unary.ErrStopped)) {
			failure = err
		}
	}
	select {
	case <-ctx.Done():
	case err := <-ended:
		note(err)
	}
	f.ending.Store(true) // health checks learn before connections end
	if failure == nil {
		f.linger()
	}
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	f.server.Shutdown(drained)
	for running > 0 {
		note(<-ended)
	}
	return failure
}

func (f *front) announce(ctx context.Context, l namedListener) {
	f.process.Log.InfoContext(ctx, "listening", "listener", "grpc", "address", l.name, "bound", l.Addr().String())
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && !f.clientsKnown {
		f.process.Log.WarnContext(ctx, settings.OpenToAll, "address", l.name)
	}
	f.process.listening(l.name, l.Addr())
}

// openTLS returns nil when there is to be none.
func openTLS(t *settings.TLS, p Process) (*servertls.Certificate, error) {
	if t == nil {
		return nil, nil
	}
	certificate, err := servertls.Open(t.Files(), p.Now, p.Log)
	if err != nil {
		return nil, err
	}
	return certificate, registerAll(p.Registry, certificate.Metrics("extauthz")...)
}
