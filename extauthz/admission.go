package extauthz

import (
	"fmt"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/admission"
	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// setUpLimits sets up what keeps callers and strangers from taking more than their part.
func (s *Server) setUpLimits() (err error) {
	if err := s.admit(s.options.Registerer); err != nil {
		return err
	}
	s.limits, err = newLimiter(s.options.Limits, s.options.Now(), s.options.Registerer)
	return err
}

// admit puts the gate in front of all signature checks: of tokens that are not remembered, and of proofs.
func (s *Server) admit(r prometheus.Registerer) error {
	s.gate = admission.New(runtime.GOMAXPROCS(0), s.options.Now())
	s.verifier.Admit(s.gate)
	if r == nil {
		return nil
	}
	count := func(result string, of func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "agentidp", Subsystem: "extauthz", Name: "verifications_total", ConstLabels: prometheus.Labels{"admission": result},
			Help: "Tokens and proofs whose signature had to be checked: of sources nobody suspects, of suspects, refused without a check, known to be bad.",
		}, func() float64 { return float64(of()) })
	}
	for _, c := range []prometheus.Collector{
		count("free", func() uint64 { n, _, _ := s.gate.Counts(); return n }),
		count("suspect", func() uint64 { _, n, _ := s.gate.Counts(); return n }),
		count("refused", func() uint64 { _, _, n := s.gate.Counts(); return n }),
		count("known", s.verifier.RefusedHits),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// source is where a request comes from, as Envoy says: the address of the peer, or of the client a trusted proxy names.
func source(r *checkreq.Request) string {
	if r.Source.IP != "" {
		return r.Source.IP
	}
	return r.Source.Pipe
}
