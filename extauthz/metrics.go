package extauthz

import (
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/state"
)

// metrics counts what the pipeline does. Labels come from closed sets, never from requests.
type metrics struct {
	decisions *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	outcomes  atomic.Pointer[map[outcome]*counted] // those that came so far; never written to
	hits      prometheus.Counter
	misses    prometheus.Counter
	panics    prometheus.Counter
	replaced  prometheus.Counter
}

func newMetrics(r prometheus.Registerer, store *state.Store, log *decisionlog.Log) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	m := &metrics{
		decisions: prometheus.NewCounterVec(
			prometheus.CounterOpts(opts("decisions_total", "Checks by result (allowed, denied, undecided) and reason.")), []string{"result", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "agentidp", Subsystem: "extauthz", Name: "decision_duration_seconds", Help: "Time from the decoded check to its answer.",
			Buckets: []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3},
		}, []string{"result"}),
		hits:     counter("token_cache_hits_total", "Tokens that had been verified before."),
		misses:   counter("token_cache_misses_total", "Tokens that had to be verified, or were refused."),
		panics:   counter("panics_total", "Panics that became denials."),
		replaced: counter("answers_replaced_total", "Answers that were neither an explicit OK nor an explicit denial and became denials."),
	}
	m.outcomes.Store(&map[outcome]*counted{})
	collectors := []prometheus.Collector{
		m.decisions, m.duration, m.hits, m.misses, m.panics, m.replaced,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("snapshot_epoch", "Number of the snapshot in force.")),
			func() float64 { return float64(store.Load().Epoch) }),
	}
	if log != nil {
		collectors = append(collectors, log)
	}
	return m, registerAll(r, collectors...)
}

// opts name a metric of this program.
func opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "agentidp", Subsystem: "extauthz", Name: name, Help: help}
}

// registerAll makes metrics known to r, unless it is nil: then they are private.
func registerAll(r prometheus.Registerer, collectors ...prometheus.Collector) error {
	if r == nil {
		return nil
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// outcome is what a call came to: a pair of labels.
type outcome struct{ result, reason string }

// counted is where an outcome is counted: what the labels lead to, looked up once.
type counted struct {
	decisions prometheus.Counter
	duration  prometheus.Observer
}

func (m *metrics) decision(result, reason string, elapsed time.Duration) {
	o := outcome{result, reason}
	c := (*m.outcomes.Load())[o]
	if c == nil {
		c = m.first(o)
	}
	c.decisions.Inc()
	c.duration.Observe(elapsed.Seconds())
}

// first remembers where an outcome is counted. Outcomes are a closed set, so this ends.
func (m *metrics) first(o outcome) *counted {
	c := &counted{m.decisions.WithLabelValues(o.result, o.reason), m.duration.WithLabelValues(o.result)}
	for {
		old := m.outcomes.Load()
		next := maps.Clone(*old)
		next[o] = c
		if m.outcomes.CompareAndSwap(old, &next) {
			return c
		}
	}
}

func (m *metrics) token(r identity.Result) {
	if r.Remembered {
		m.hits.Inc()
	} else {
		m.misses.Inc()
	}
}
