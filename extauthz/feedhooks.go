package extauthz

import (
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/internal/policy"
)

// What feeds tell the server: see UsePolicy and UseRevocations of feed.Env.

// UsePolicy says in the log whether decisions of a policy that comes into force are remembered, and what prevents it.
func (s *Server) UsePolicy(p *policy.Policy) {
	if s.decisions == nil {
		return
	}
	report := s.decisions.Use(p)
	if report.On {
		s.options.Log.Info("decisions are remembered", "revision", p.Revision(), "by", report.ReadSet)
		return
	}
	var obstacles []string
	for _, o := range report.Obstacles[:min(len(report.Obstacles), settings.ObstaclesShownMax)] {
		obstacles = append(obstacles, o.String())
	}
	s.options.Log.Warn("decisions are not remembered", "revision", p.Revision(), "because", obstacles, "obstacles", len(report.Obstacles))
}

// UseRevocations forgets the tokens that the lists in force revoke. Requests do not wait for it, and need not: each of them is checked.
func (s *Server) UseRevocations() {
	if n := s.verifier.Forget(s.options.Store.Load(), s.options.Now()); n > 0 {
		s.options.Log.Info("remembered tokens are no longer good and were forgotten", "tokens", n)
	}
}
