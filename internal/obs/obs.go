// Package obs is logging, metrics and the debug listener, the same in every daemon.
package obs

import (
	"context"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// NewLogger writes JSON lines.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger { panic("contract") }

// NewRegistry has Go, process and build-info collectors.
func NewRegistry(service string) *prometheus.Registry { panic("contract") }

// Debug serves /metrics, /healthz (always 200 while the process runs), /readyz (503 and the reason while ready returns an error), and pprof when asked.
type Debug struct {
	Listen   string // host:port; ":0" picks a port
	Registry *prometheus.Registry
	Ready    func() error
	Pprof    bool
	Log      *slog.Logger
}

// Run listens until ctx ends. Listening is announced by one log line with the address.
func (d *Debug) Run(ctx context.Context) error { panic("contract") }
