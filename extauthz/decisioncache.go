package extauthz

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
)

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
