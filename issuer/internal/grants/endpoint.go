package grants

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/issuer/internal/clientauth"
)

// New returns the endpoint that serves these grants.
func New(clients *clientauth.Authenticator, minter Minter, recorder Recorder, reg prometheus.Registerer, served ...Grant) (*Endpoint, error) {
	e := &Endpoint{clients: clients, minter: minter, recorder: recorder, grants: make(map[string]Grant, len(served)), metrics: newMetrics(reg)}
	for _, g := range served {
		if _, dup := e.grants[g.Type]; dup || g.Type == "" || g.Authorize == nil {
			return nil, fmt.Errorf("grant %q: given twice, or not complete", g.Type)
		}
		e.grants[g.Type] = g
	}
	return e, nil
}

// Types is every grant type served, for metadata.
func (e *Endpoint) Types() []string { return slices.Sorted(maps.Keys(e.grants)) }

// metrics of the token endpoint. Labels are grant types we serve and codes of package oauth.
type metrics struct {
	issued  *prometheus.CounterVec
	refused *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		issued:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agentidp_issuer_tokens_issued_total", Help: "Access tokens issued, by grant type."}, []string{"grant_type"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "agentidp_issuer_token_requests_refused_total", Help: "Token requests refused, by OAuth error code."}, []string{"error"}),
	}
	reg.MustRegister(m.issued, m.refused)
	return m
}
