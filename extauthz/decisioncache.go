package extauthz

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/internal/config"
)

const (
	decisionCacheBytesDefault = 32 << 20
	decisionCacheAgeDefault   = time.Minute
	decisionCacheBytesMin     = 1 << 20
	decisionCacheAgeMax       = time.Hour // a decision is as good after an hour; memory for what nobody asks again is not
)

// DecisionCache says how many decisions of the policy are remembered, and for how long. The zero value remembers none.
type DecisionCache struct {
	Bytes  config.Bytes    `yaml:"bytes"` // 0 switches it off
	MaxAge config.Duration `yaml:"maxAge"`
}

// SetDefaults implements the defaults of the config file.
func (d *DecisionCache) SetDefaults() {
	d.Bytes, d.MaxAge = decisionCacheBytesDefault, config.Duration{Duration: decisionCacheAgeDefault}
}

func (d *DecisionCache) validate(r *config.Report) {
	if d.Bytes != 0 && d.Bytes < decisionCacheBytesMin {
		r.Errorf("decisionCache.bytes", "want at least 1MiB, or 0 to switch it off")
	}
	if d.MaxAge.Duration <= 0 || d.MaxAge.Duration > decisionCacheAgeMax {
		r.Errorf("decisionCache.maxAge", "want more than 0 and at most %s", decisionCacheAgeMax)
	}
}

// useDecisionCache puts the decision cache, if there is to be one, in the place of the plain decide stage.
func (s *Server) useDecisionCache() error {
	o := &s.options
	if o.DecisionCache.Bytes == 0 {
		return nil
	}
	cache, err := decide.NewCache(int64(o.DecisionCache.Bytes), o.DecisionCache.MaxAge.Duration)
	if err != nil {
		return err
	}
	s.decisions, s.stages.decide = cache, cache.Decide
	o.Organizations.Remember(cache)
	if p := o.Store.Load().Policy; p != nil {
		s.UsePolicy(p)
	}
	err = registerAll(
		o.Registerer,
		prometheus.NewCounterFunc(prometheus.CounterOpts(opts("decision_cache_hits_total", "Decisions that were remembered.")), func() float64 {
			hits, _ := cache.Counts()
			return float64(hits)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts(opts("decision_cache_misses_total", "Decisions that could have been remembered and were not.")), func() float64 {
			_, misses := cache.Counts()
			return float64(misses)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("decision_cache_enabled", "1 while decisions of the policy in force are remembered.")), s.remembers),
	)
	if err != nil {
		cache.Close()
	}
	return err
}

func (s *Server) remembers() float64 {
	if p := s.options.Store.Load().Policy; p != nil && s.decisions.Use(p).On {
		return 1
	}
	return 0
}

// obstaclesLogMax bounds what is said of one policy.
const obstaclesLogMax = 10
