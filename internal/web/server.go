package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/servertls"
)

// drainTimeout bounds how long requests in flight are waited for at the end.
const drainTimeout = 10 * time.Second

// Server serves a handler over TLS until its context ends. There is no plaintext server.
type Server struct {
	Listen         string // host:port
	Handler        http.Handler
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// AskClients asks each connection for a client certificate. It may have none, and one that it has is not verified but for the possession of its key: whoever relies on
	// it looks at tls.ConnectionState.PeerCertificates and judges.
	AskClients bool
	Log        *slog.Logger
	Listening  func(net.Addr) // called once, when connections are accepted; may be nil
}

// Run listens, serves, and when ctx ends stops accepting and lets requests in flight finish within drainTimeout.
func (s *Server) Run(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.Listen, err)
	}
	server := newServer(s.Handler, s.GetCertificate, s.Log)
	if s.AskClients {
		server.TLSConfig.ClientAuth = tls.RequestClientCert
	}
	s.Log.InfoContext(ctx, "listening", slog.String("address", listener.Addr().String()))
	if s.Listening != nil {
		s.Listening(listener.Addr())
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return errors.Join(fmt.Errorf("requests still running after %s: %w", drainTimeout, err), server.Close())
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func newServer(h http.Handler, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h,
		// OPTIONS * is answered by h as every other request is.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerReadTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               headerBytesMax,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		TLSConfig:                    servertls.Config(certificate),
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes of port scanners and the like
	}
}
