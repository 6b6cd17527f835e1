package agents

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// SecretPrefix opens every client secret, so that scanners of repositories and logs can find a leaked one. The rest is 256 random bits.
const SecretPrefix = "aidp_"

const (
	secretRandomBytes = 32
	// PerKindMax is how many unexpired credentials of one kind an agent may have: the one in use and the one it is moving to.
	PerKindMax = 2
	// LifetimeMin keeps a credential from expiring before it can be delivered.
	LifetimeMin = time.Minute
	// LifetimeMax is what "long-lived" may mean at most.
	LifetimeMax = 10 * 365 * 24 * time.Hour
	// OverlapMax is how long a replaced secret may keep working.
	OverlapMax = 30 * 24 * time.Hour
	// secretHashContext separates these keyed hashes from any other use of the same key.
	secretHashContext = "agentidp client secret v1\x00"
)

// CreateCredential makes a client secret and returns it; it is never shown again. lifetime 0 means no expiry. At most two unexpired ones at a time.
func (s *Service) CreateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, lifetime time.Duration) (Credential, string, error) {
	next, err := s.newCredential(agent, KindClientSecret, lifetime)
	if err != nil {
		return Credential{}, "", err
	}
	secret := newSecret()
	c, err := s.store.CreateCredential(ctx, actor, next, s.hash(secret))
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// RegisterCredential makes a credential of another kind: the agent keeps the secret half, we keep what it is checked against.
func (s *Service) RegisterCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, kind string, r Registration, lifetime time.Duration) (Credential, error) {
	if err := r.check(kind); err != nil {
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
	secret := newSecret()
	c, err := s.rotate(ctx, actor, Credential{AgentID: agent, Kind: KindClientSecret}, id, s.hash(secret), overlap)
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// ReplaceCredential is RotateCredential for a credential of another kind, which the new registration must be of.
func (s *Service) ReplaceCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, kind string, r Registration, overlap time.Duration) (Credential, error) {
	if err := r.check(kind); err != nil {
		return Credential{}, err
	}
	return s.rotate(ctx, actor, Credential{AgentID: agent, Kind: kind, Registration: r}, id, nil, overlap)
}

func (s *Service) rotate(ctx context.Context, actor audit.Actor, next Credential, old agentid.Credential, hash []byte, overlap time.Duration) (Credential, error) {
	if overlap < 0 || overlap > OverlapMax {
		return Credential{}, invalid("/overlapSeconds", "overlap_range", fmt.Sprintf("must be 0 to %d", OverlapMax/time.Second))
	}
	next.ID, next.CreatedAt = agentid.New[agentid.Credential](), s.clock()
	return s.store.RotateCredential(ctx, actor, next.AgentID, old, next, hash, next.CreatedAt.Add(overlap))
}

// DeleteCredential removes a credential at once, and the tokens issued with it die. What replaces one in good hands is RotateCredential, which leaves them alive.
func (s *Service) DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error {
	return s.store.DeleteCredential(ctx, actor, agent, id)
}

func (s *Service) newCredential(agent agentid.Agent, kind string, lifetime time.Duration) (Credential, error) {
	if lifetime != 0 && (lifetime < LifetimeMin || lifetime > LifetimeMax) {
		return Credential{}, invalid("/lifetimeSeconds", "lifetime_range",
			fmt.Sprintf("must be 0 (no expiry) or %d to %d", LifetimeMin/time.Second, LifetimeMax/time.Second))
	}
	c := Credential{ID: agentid.New[agentid.Credential](), AgentID: agent, Kind: kind, CreatedAt: s.clock()}
	if lifetime != 0 {
		c.ExpiresAt = c.CreatedAt.Add(lifetime)
	}
	return c, nil
}

func newSecret() string {
	b := make([]byte, secretRandomBytes)
	rand.Read(b) // never fails, by contract of crypto/rand
	return SecretPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// hash is what is stored. A fast keyed hash is right for 256 random bits: there is nothing to guess, and a slow hash would let anyone exhaust the CPU.
func (s *Service) hash(secret string) []byte {
	m := hmac.New(sha256.New, s.hashKey)
	m.Write([]byte(secretHashContext))
	m.Write([]byte(secret))
	return m.Sum(nil)
}
