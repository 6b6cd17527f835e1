package grants

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
)

// Config of the endpoint. Everything is required.
type Config struct {
	Clients  clientauth.Clients
	Minter   Minter
	Recorder Recorder
	Proofs   *dpop.Checker
	Metrics  prometheus.Registerer
	Now      func() time.Time
}

// New returns the endpoint that serves these grants.
func New(cfg Config, served ...Grant) (*Endpoint, error) {
	if cfg.Now == nil || cfg.Metrics == nil || cfg.Proofs == nil {
		return nil, errors.New("the token endpoint has no clock, no metrics or nothing that checks proofs")
	}
	e := &Endpoint{cfg: cfg, grants: make(map[string]Grant, len(served))}
	for _, g := range served {
		if _, dup := e.grants[g.Type]; dup || g.Type == "" || g.Authorize == nil {
			return nil, fmt.Errorf("grant %q: given twice, or not complete", g.Type)
		}
		e.grants[g.Type] = g
	}
	e.metrics = newMetrics(cfg.Metrics)
	return e, nil
}

// Types is every grant type served, for metadata.
func (e *Endpoint) Types() []string { return slices.Sorted(maps.Keys(e.grants)) }

// AgentTypes is those that agents use.
func (e *Endpoint) AgentTypes() []string {
	return e.typesOf(func(g Grant) bool { return g.Identify == nil || g.Agents })
}

// RelyingPartyTypes is those that relying parties use.
func (e *Endpoint) RelyingPartyTypes() []string {
	return e.typesOf(func(g Grant) bool { return g.Identify != nil })
}

func (e *Endpoint) typesOf(use func(Grant) bool) []string {
	return slices.DeleteFunc(e.Types(), func(t string) bool { return !use(e.grants[t]) })
}

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
