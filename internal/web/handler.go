package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/problem"
)

// Config of a Handler.
type Config struct {
	Routes        []Route
	Authenticate  func(r *http.Request) (context.Context, error) // guards Protected routes; its context is the handler's
	Challenge     string                                         // WWW-Authenticate of its refusals
	ConcurrentMax int                                            // requests handled at once; 0 is ConcurrentRequestsMax

	// Around, when set, wraps all that is done for a request of a route, authentication and the reading of its body included. It may answer instead.
	Around func(route Route, next http.HandlerFunc) http.HandlerFunc

	// TrustedProxies are believed when they say, in X-Forwarded-For, where a request came from. None: the source is whoever the connection is from.
	TrustedProxies []netip.Prefix

	Metrics       prometheus.Registerer
	MetricsPrefix string      // agentidp_issuer
	Tracer        *obs.Tracer // nil traces nothing; the Handler does not close it
	Log           *slog.Logger
	Now           func() time.Time
}

// Handler is what every request passes through.
type Handler struct {
	cfg     Config
	routes  *routes
	metrics *metrics
	room    chan struct{}
}

// NewHandler checks the route table; a Protected route without Authenticate is an error, never an open door.
func NewHandler(cfg Config) (*Handler, error) {
	if cfg.ConcurrentMax == 0 {
		cfg.ConcurrentMax = ConcurrentRequestsMax
	}
	for _, route := range cfg.Routes {
		if route.Protected && cfg.Authenticate == nil {
			return nil, fmt.Errorf("route %s %s is protected and nothing authenticates", route.Method, route.Path)
		}
	}
	rs, err := newRoutes(cfg.Routes)
	if err != nil {
		return nil, err
	}
	h := &Handler{cfg: cfg, routes: rs, metrics: newMetrics(cfg.Metrics, cfg.MetricsPrefix), room: make(chan struct{}, cfg.ConcurrentMax)}
	for pattern, route := range rs.table {
		route.serve = h.serve(route)
		if cfg.Around != nil {
			route.serve = cfg.Around(route, route.serve)
		}
		rs.table[pattern] = route
	}
	return h, nil
}

// ServeHTTP is the whole life of a request.
func (h *Handler) ServeHTTP(response http.ResponseWriter, r *http.Request) {
	start := h.cfg.Now()
	rec := h.cfg.newRecord(r)
	rec.span = h.trace(r, start)
	w := &recorder{ResponseWriter: response, rec: rec}
	r = r.WithContext(context.WithValue(r.Context(), recordKey{}, rec))
	defer func() { h.finish(r, rec, h.cfg.Now().Sub(start)) }()
	defer h.recover(w, r)

	setHeaders(w.Header(), rec.id)
	route, err := h.routes.find(w, r)
	if err != nil {
		Fail(w, r, err)
		return
	}
	rec.route = route.Path
	route.serve(w, r)
}

// serve is what a route does for a request.
func (h *Handler) serve(route Route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if route.Protected {
			ctx, err := h.cfg.Authenticate(r)
			if err != nil {
				if problem.KindOf(err) == problem.Unauthenticated {
					w.Header().Set("WWW-Authenticate", h.cfg.Challenge)
				}
				Fail(w, r, err)
				return
			}
			r = r.WithContext(ctx)
		}
		r.Body = receive(unwrap(w), r)
		if !h.enter() {
			Fail(w, r, &problem.Error{Kind: problem.Unavailable, Code: "overloaded", Detail: "Too many requests at once. Try again.", RetryAfter: overloadRetryAfter})
			return
		}
		defer h.leave()
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		h.routes.mux.ServeHTTP(w, r.WithContext(ctx))
	}
}

func (h *Handler) enter() bool {
	select {
	case h.room <- struct{}{}:
		h.metrics.inFlight.Inc()
		return true
	default:
		h.metrics.refused.Inc()
		return false
	}
}

func (h *Handler) leave() {
	h.metrics.inFlight.Dec()
	<-h.room
}

// setHeaders are right for every answer we give: never cached unless the handler says so, never sniffed, never framed.
func setHeaders(header http.Header, requestID string) {
	header.Set("X-Request-Id", requestID)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
}

// recover turns a panic into Internal; when the answer has already begun, the connection is cut so that half an answer cannot pass for a whole one.
func (h *Handler) recover(w *recorder, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	h.metrics.panics.Inc()
	err := fmt.Errorf("panic: %v", p)
	h.cfg.Log.ErrorContext(r.Context(), "panic", slog.String("request_id", w.rec.id), slog.Any("err", err), slog.String("stack", string(debug.Stack())))
	if w.rec.status != 0 {
		w.rec.err = err
		panic(http.ErrAbortHandler)
	}
	Fail(w, r, err)
}

// finish writes the one log line of a request and its metrics.
func (h *Handler) finish(r *http.Request, rec *record, took time.Duration) {
	if rec.status == 0 {
		rec.status = http.StatusOK // what net/http sends for a handler that wrote nothing
	}
	h.metrics.observe(rec, r.Method, took)
	endTrace(r, rec)
	level := slog.LevelInfo
	switch {
	case rec.status >= http.StatusInternalServerError && !errors.Is(rec.err, context.Canceled):
		level = slog.LevelError
	case r.Method == http.MethodGet && rec.status < http.StatusBadRequest:
		level = slog.LevelDebug // sidecars poll each second
	}
	attrs := []slog.Attr{
		slog.String("request_id", rec.id), slog.String("method", method(r, rec)), slog.String("route", rec.route),
		slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", took), slog.String("source", rec.source),
	}
	if rec.err != nil {
		attrs = append(attrs, slog.Any("err", rec.err))
	}
	h.cfg.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// method is the request's, unless a stranger may have made it up.
func method(r *http.Request, rec *record) string {
	if rec.route == noRoute {
		return noRoute
	}
	return r.Method
}
