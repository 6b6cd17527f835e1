package extauthz

import (
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
)

// subject is what the policy is asked about.
func (s *Server) subject(c *call) decide.Subject {
	v := s.options.View
	subject := decide.Subject{
		Request: c.request, Identity: c.identity, Now: c.now,
		ShowAuth: v.ShowToken || s.options.Identity == settings.IdentityPolicy, SkipBody: v.SkipBody, Descriptors: v.Descriptors,
	}
	if c.identity != nil {
		subject.Issuer = c.snapshot.Issuers[c.identity.Issuer]
	}
	return subject
}
