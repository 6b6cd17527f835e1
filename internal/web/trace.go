package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/obs"
)

// trace begins the span of a request, if its trace is recorded: as a child of the client's (W3C Trace Context).
func (h *Handler) trace(r *http.Request, start time.Time) *obs.Span {
	if h.cfg.Tracer == nil {
		return nil
	}
	var parent obs.TraceContext
	if values := r.Header.Values("Traceparent"); len(values) == 1 { // several are none (s4.3)
		parent = obs.ParseTraceContext(values[0], strings.Join(r.Header.Values("Tracestate"), ","))
	}
	return h.cfg.Tracer.Begin(&parent, otherMethod, start)
}

// otherMethod names a request whose method may be made up.
const otherMethod = "HTTP"

// knownMethods are those of the semantic conventions.
var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace, http.MethodPatch,
}

// endTrace says what became of the request, by its route: paths hold ids and whatever a stranger typed.
func endTrace(r *http.Request, rec *record) {
	span := rec.span
	if span == nil {
		return
	}
	method, name := "_OTHER", otherMethod
	if slices.Contains(knownMethods, r.Method) {
		method, name = r.Method, r.Method
	}
	if rec.route != noRoute {
		name += " " + rec.route
		span.SetString("http.route", rec.route)
	}
	span.Rename(name)
	span.SetString("http.request.method", method)
	span.SetInt("http.response.status_code", int64(rec.status))
	span.SetString("url.scheme", "https")
	span.SetString("agentidp.request.id", rec.id)
	if rec.status >= http.StatusInternalServerError {
		span.Fail(strconv.Itoa(rec.status))
	}
	span.End()
}
