package servertls

import "github.com/prometheus/client_golang/prometheus"

// Metrics says, for the registry of a service ("extauthz"), when what is in use ends and how its replacements went.
func (c *Certificate) Metrics(service string) []prometheus.Collector {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "agentidp", Subsystem: service, Name: n, Help: help}
	}
	reloads := func(result string, count func() uint64) prometheus.Collector {
		opts := prometheus.CounterOpts(name("tls_reloads_total", "Changes of the TLS files by what became of them: replaced, refused."))
		opts.ConstLabels = prometheus.Labels{"result": result}
		return prometheus.NewCounterFunc(opts, func() float64 { return float64(count()) })
	}
	all := []prometheus.Collector{
		reloads("replaced", c.replaced.Load),
		reloads("refused", c.refused.Load),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(name("tls_failing", "1 while the TLS files cannot be used and what they last held is.")), func() float64 {
			if c.failing.Load() {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(name("tls_certificate_not_after_timestamp_seconds", "When the server certificate in use ends.")), func() float64 {
			return float64(c.NotAfter().Unix())
		}),
	}
	if c.files.ClientCA != "" {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts(name("tls_client_ca_not_after_timestamp_seconds", "When the last authority of clients ends.")), func() float64 {
			return float64(c.current.Load().clientsUntil.Unix())
		}))
	}
	return all
}
