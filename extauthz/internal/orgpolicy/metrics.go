package orgpolicy

import (
	"github.com/prometheus/client_golang/prometheus"
)

const metricPrefix = "agentidp_extauthz_organization_"

var (
	foldersDesc  = prometheus.NewDesc(metricPrefix+"folders", "Organizations that have a policy of their own.", nil, nil)
	policiesDesc = prometheus.NewDesc(metricPrefix+"policies",
		"Policies of organizations in memory: in_force, stale (its folder is broken, the last good one is in force), broken (none ever compiled), loading.", []string{"state"}, nil)
	bytesDesc    = prometheus.NewDesc(metricPrefix+"policy_bytes", "Memory that these policies take, at most.", nil, nil)
	compiledDesc = prometheus.NewDesc(metricPrefix+"compilations_total", "Policies of organizations that were compiled (good), or could not be (refused).", []string{"result"}, nil)
	evictedDesc  = prometheus.NewDesc(metricPrefix+"evictions_total", "Policies of organizations that made room for others.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Set) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{foldersDesc, policiesDesc, bytesDesc, compiledDesc, evictedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	states := map[string]int{"in_force": 0, "stale": 0, "broken": 0, "loading": 0}
	var bytes int64
	s.mu.Lock()
	for r := range s.residents {
		states[r.state()]++
		bytes += r.bytes.Load()
	}
	s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(foldersDesc, float64(len(*s.folders.Load())))
	for state, n := range states {
		gauge(policiesDesc, float64(n), state)
	}
	gauge(bytesDesc, float64(bytes))
	counter(compiledDesc, s.compiled.Load(), "good")
	counter(compiledDesc, s.refused.Load(), "refused")
	counter(evictedDesc, s.evicted.Load())
}

func (r *residency) state() string {
	v := r.verdict.Load()
	switch {
	case v == nil:
		return "loading"
	case v.policy == nil:
		return "broken"
	case r.stale.Load() != 0:
		return "stale"
	}
	return "in_force"
}
