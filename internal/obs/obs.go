// Package obs is logging, metrics, traces (sent over OTLP) and the operator's listener, the same in every daemon.
package obs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewLogger writes one JSON object a line, times in UTC.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				a.Value = slog.TimeValue(a.Value.Time().UTC())
			}
			return a
		},
	}))
}

// NewRegistry holds the Go and process collectors and agentidp_build_info{service,version,go}. Nothing registers itself elsewhere: a
// metric is in the registry a constructor was given, or it does not exist.
func NewRegistry(service string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "agentidp_build_info",
		Help: "Always 1; the labels say what is running.",
	}, []string{"service", "version", "go"})
	info := Build()
	build.WithLabelValues(service, info.Version, info.Go).Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	return r
}

// BuildInfo says which build is running.
type BuildInfo struct {
	Version string // module version, else VCS revision, else "devel"
	Go      string
}

// Build reads the build info the Go linker left in the binary.
func Build() BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return BuildInfo{Version: "devel"}
	}
	b := BuildInfo{Version: info.Main.Version, Go: info.GoVersion}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				b.Version = s.Value[:12]
			}
		}
	}
	return b
}

// Operator is the operator's listener: /metrics, /healthz (200 while the process serves at all), /readyz (503 and the reason until ready), and
// /debug/pprof/ when asked for. It belongs on loopback or a pod-internal address: it needs no credential. Scrapers and probes come from outside
// of a pod; pprof and More, which show what is in memory, are answered to the same machine or pod alone, wherever it listens (see local).
type Operator struct {
	Listen   string // host:port; port 0 picks one
	Registry *prometheus.Registry
	Ready    func() error // nil means ready
	Pprof    bool
	Log      *slog.Logger
	More     map[string]http.Handler // further routes by their pattern, such as "GET /debug/decision/{id}"; for loopback alone
	Patient  bool                    // wait for an address that is in use, as by the process that is to be replaced
	// Listening, when set, is called once with the address in use.
	Listening func(net.Addr)
}

const patientPause = 100 * time.Millisecond

// shutdownMax bounds how long a scrape in flight may hold up the end of the process.
const shutdownMax = 2 * time.Second

// Run listens until ctx ends.
func (o *Operator) Run(ctx context.Context) error {
	l, err := o.listen(ctx)
	if err != nil {
		return err
	}
	if l == nil {
		return nil
	}
	server := &http.Server{
		Handler:           o.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	o.Log.InfoContext(ctx, "listening", "listener", "metrics", "address", l.Addr().String(), "pprof", o.Pprof)
	if o.Listening != nil {
		o.Listening(l.Addr())
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownMax)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen opens the address. A patient listener waits while it is in use; nil without error means that ctx ended first.
func (o *Operator) listen(ctx context.Context) (net.Listener, error) {
	l, err := net.Listen("tcp", o.Listen)
	if err == nil || !o.Patient || !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	o.Log.WarnContext(ctx, "the metrics listener waits: its address is in use", "address", o.Listen)
	tick := time.NewTicker(patientPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-tick.C:
		}
		if l, err := net.Listen("tcp", o.Listen); !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
}

// Handler is the listener's routes, for tests and for embedding.
func (o *Operator) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	for pattern, handler := range o.More {
		mux.Handle(pattern, local(handler))
	}
	if o.Pprof {
		mux.Handle("GET /debug/pprof/", local(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/cmdline", local(http.HandlerFunc(pprof.Cmdline)))
		mux.Handle("GET /debug/pprof/profile", local(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/symbol", local(http.HandlerFunc(pprof.Symbol)))
		mux.Handle("GET /debug/pprof/trace", local(http.HandlerFunc(pprof.Trace)))
	}
	return mux
}

// local answers whoever connects over loopback and asks for it: kubectl port-forward and exec, ssh -L, curl on the machine. The Host is asked too:
// proxies in a pod pass on what came from elsewhere over loopback, and a name that somebody points at 127.0.0.1 makes a browser come from there.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil || !IsLoopback(peer) || !IsLoopback(hostOf(r.Host)) {
			plain(w, http.StatusForbidden, "this page is answered over loopback only: use kubectl port-forward, or ssh -L, and ask for http://localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsLoopback reports whether a host, a name or an address, is the machine or pod itself.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || host == "localhost"
}

// hostOf is a Host without its port.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
