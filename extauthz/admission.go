package extauthz

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/admission"
	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
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
	count := func(result string, of func() uint64) prometheus.Collector {
		o := opts("verifications_total", "Tokens and proofs whose signature had to be checked: of sources nobody suspects, of suspects, refused without a check, known to be bad.")
		o.ConstLabels = prometheus.Labels{"admission": result}
		return prometheus.NewCounterFunc(prometheus.CounterOpts(o), func() float64 { return float64(of()) })
	}
	return registerAll(
		r,
		count("free", func() uint64 { n, _, _ := s.gate.Counts(); return n }),
		count("suspect", func() uint64 { _, n, _ := s.gate.Counts(); return n }),
		count("refused", func() uint64 { _, _, n := s.gate.Counts(); return n }),
		count("known", s.verifier.RefusedHits),
	)
}

// source is where a request comes from, as Envoy says: the address of the peer, or of the client a trusted proxy names.
func source(r *checkreq.Request) string {
	if r.Source.IP != "" {
		return r.Source.IP
	}
	return r.Source.Pipe
}

// refuseCrowded refuses a token or proof nobody looked at. It is 429 and not 503: it is not we who are in trouble, and what comes
// from elsewhere is answered; and a client that gets 503 tries again at once.
func (c *call) refuseCrowded(reason, detail string) checkresp.Answer {
	return c.deny(resultDenied, reason, checkresp.Denial{
		Status: http.StatusTooManyRequests, Code: reason, Documented: true, Detail: detail, Limited: &checkresp.Limited{RetryAfter: crowdedRetry},
	})
}

// crowdedRetry is when a refused token may come again, in seconds: as long as it takes to forget a bad one.
const crowdedRetry = 1
