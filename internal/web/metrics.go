package web

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// noRoute labels requests for paths that are not served.
const noRoute = "none"

// metrics of one Handler. All labels come from closed sets: routes of the table, methods of the table, statuses we send.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	refused  prometheus.Counter
	panics   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, prefix string) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "_http_request_duration_seconds", Help: "Time from the first byte of the handler to the last, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "_http_requests_in_flight", Help: "Requests being handled."}),
		refused:  prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "_http_overload_total", Help: "Requests refused because too many were in flight."}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + "_http_panics_total", Help: "Panics recovered; each is a bug."}),
	}
	reg.MustRegister(m.requests, m.duration, m.inFlight, m.refused, m.panics)
	return m
}

func (m *metrics) observe(rec *record, method string, took time.Duration) {
	if rec.route == noRoute {
		method = noRoute // a stranger may invent methods
	}
	m.requests.WithLabelValues(rec.route, method, strconv.Itoa(rec.status)).Inc()
	m.duration.WithLabelValues(rec.route).Observe(took.Seconds())
}
