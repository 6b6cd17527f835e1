package explain

import "github.com/prometheus/client_golang/prometheus"

// cause is why a decision is not kept. Closed set: metric label.
type cause int

const (
	causeFull   cause = iota // too many were waiting
	causeEncode              // it cannot be rendered
	causeSize                // larger than all that may be kept
	causeTwice               // another decision has its id
)

var causes = [...]string{causeFull: "full", causeEncode: "encode", causeSize: "size", causeTwice: "twice"}

func (r *Recorder) miss(c cause) { r.missed[c].Add(1) }

var (
	missedMetric = prometheus.NewDesc("agentidp_extauthz_explain_missed_total",
		"Decisions that are not kept for /debug/decision, by cause: full, encode, size, twice.", []string{"cause"}, nil)
	keptMetric  = prometheus.NewDesc("agentidp_extauthz_explain_kept", "Decisions that are kept for /debug/decision.", nil, nil)
	bytesMetric = prometheus.NewDesc("agentidp_extauthz_explain_kept_bytes", "Memory for them, of explain.bytes.", nil, nil)
)

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(out chan<- *prometheus.Desc) {
	out <- missedMetric
	out <- keptMetric
	out <- bytesMetric
}

// Collect implements prometheus.Collector.
func (r *Recorder) Collect(out chan<- prometheus.Metric) {
	for c, name := range causes {
		out <- prometheus.MustNewConstMetric(missedMetric, prometheus.CounterValue, float64(r.missed[c].Load()), name)
	}
	r.mu.Lock()
	kept, bytes := len(r.entries), r.bytes
	r.mu.Unlock()
	out <- prometheus.MustNewConstMetric(keptMetric, prometheus.GaugeValue, float64(kept))
	out <- prometheus.MustNewConstMetric(bytesMetric, prometheus.GaugeValue, float64(bytes))
}
