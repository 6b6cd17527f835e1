package agents

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// CreateCredential makes a client secret and returns it; it is never shown again. lifetime 0 means no expiry. At most two unexpired ones at a time.
func (s *Service) CreateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, lifetime time.Duration) (Credential, string, error) {
	next, err := s.newCredential(agent, credentials.KindClientSecret, lifetime)
	if err != nil {
		return Credential{}, "", err
	}
	secret, hash := s.secrets.New()
	c, err := s.store.CreateCredential(ctx, actor, next, hash)
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// RegisterCredential makes a credential of another kind: the agent keeps the secret half, we keep what it is checked against.
func (s *Service) RegisterCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, kind string, r credentials.Registration, lifetime time.Duration) (Credential, error) {
	if err := r.Validate(kind); err != nil {
		return Credential{}, err
	}
	next, err := s.newCredential(agent, kind, lifetime)
	if err != nil {
		return Credential{}, err
	}
	next.Registration = r
	return s.store.CreateCredential(ctx, actor, next, nil)
}

// Credentials lists an agent's credentials, expired ones too, oldest first.
func (s *Service) Credentials(ctx context.Context, agent agentid.Agent) ([]Credential, error) {
	return s.store.Credentials(ctx, agent)
}

// Credential finds one of an agent's credentials.
func (s *Service) Credential(ctx context.Context, agent agentid.Agent, id agentid.Credential) (Credential, error) {
	all, err := s.store.Credentials(ctx, agent)
	if err != nil {
		return Credential{}, err
	}
	for _, c := range all {
		if c.ID == id {
			return c, nil
		}
	}
	return Credential{}, &problem.Error{Kind: problem.NotFound, Code: "credential_not_found", Detail: "there is no such credential"}
}

// RotateCredential returns a new client secret; the old one keeps working for overlap. The new one lives as long as the old one was made for.
func (s *Service) RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, overlap time.Duration) (Credential, string, error) {
	secret, hash := s.secrets.New()
	c, err := s.rotate(ctx, actor, Credential{AgentID: agent, Kind: credentials.KindClientSecret}, id, hash, overlap)
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// ReplaceCredential is RotateCredential for a credential of another kind, which the new registration must be of.
func (s *Service) ReplaceCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, kind string, r credentials.Registration, overlap time.Duration) (Credential, error) {
	if err := r.Validate(kind); err != nil {
		return Credential{}, err
	}
	return s.rotate(ctx, actor, Credential{AgentID: agent, Kind: kind, Registration: r}, id, nil, overlap)
}

func (s *Service) rotate(ctx context.Context, actor audit.Actor, next Credential, old agentid.Credential, hash []byte, overlap time.Duration) (Credential, error) {
	if err := credentials.CheckOverlap(overlap); err != nil {
		return Credential{}, err
	}
	next.ID, next.CreatedAt = agentid.New[agentid.Credential](), s.clock()
	return s.store.RotateCredential(ctx, actor, next.AgentID, old, next, hash, next.CreatedAt.Add(overlap))
}

// DeleteCredential removes a credential at once, and the tokens issued with it die. What replaces one in good hands is RotateCredential, which leaves them alive.
func (s *Service) DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error {
	return s.store.DeleteCredential(ctx, actor, agent, id)
}

func (s *Service) newCredential(agent agentid.Agent, kind string, lifetime time.Duration) (Credential, error) {
	if err := credentials.CheckLifetime(lifetime); err != nil {
		return Credential{}, err
	}
	c := Credential{ID: agentid.New[agentid.Credential](), AgentID: agent, Kind: kind, CreatedAt: s.clock()}
	if lifetime != 0 {
		c.ExpiresAt = c.CreatedAt.Add(lifetime)
	}
	return c, nil
}
