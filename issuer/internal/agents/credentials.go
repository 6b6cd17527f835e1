package agents

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
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
	// SecretsMax is how many unexpired client secrets an agent may have: the one in use and the one it is moving to.
	SecretsMax = 2
	// LifetimeMin keeps a credential from expiring before it can be delivered.
	LifetimeMin = time.Minute
	// LifetimeMax is what "long-lived" may mean at most.
	LifetimeMax = 10 * 365 * 24 * time.Hour
	// OverlapMax is how long a replaced secret may keep working.
	OverlapMax = 30 * 24 * time.Hour
	// secretHashContext separates these keyed hashes from any other use of the same key.
	secretHashContext = "agentidp client secret v1\x00"
)

// ErrAuthentication is every failed client authentication. It says nothing about why: a stranger must not learn whether a client exists.
var ErrAuthentication error = &problem.Error{
	Kind: problem.Unauthenticated, Code: "client_authentication_failed", Detail: "client authentication failed",
}

// CreateCredential returns the secret; it is never shown again. lifetime 0 means no expiry. At most two unexpired client secrets at a time.
func (s *Service) CreateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, lifetime time.Duration) (Credential, string, error) {
	if lifetime != 0 && (lifetime < LifetimeMin || lifetime > LifetimeMax) {
		return Credential{}, "", invalid("/lifetimeSeconds", "lifetime_range",
			fmt.Sprintf("must be 0 (no expiry) or %d to %d", LifetimeMin/time.Second, LifetimeMax/time.Second))
	}
	next := s.newCredential(agent)
	if lifetime != 0 {
		next.ExpiresAt = next.CreatedAt.Add(lifetime)
	}
	secret := newSecret()
	c, err := s.store.CreateCredential(ctx, actor, next, s.hash(secret))
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// Credentials lists an agent's credentials, expired ones too, oldest first.
func (s *Service) Credentials(ctx context.Context, agent agentid.Agent) ([]Credential, error) {
	return s.store.Credentials(ctx, agent)
}

// RotateCredential returns a new credential and secret; the old one keeps working for overlap. The new one lives as long as the old one was made for.
func (s *Service) RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, overlap time.Duration) (Credential, string, error) {
	if overlap < 0 || overlap > OverlapMax {
		return Credential{}, "", invalid("/overlapSeconds", "overlap_range", fmt.Sprintf("must be 0 to %d", OverlapMax/time.Second))
	}
	next, secret := s.newCredential(agent), newSecret()
	c, err := s.store.RotateCredential(ctx, actor, agent, id, next, s.hash(secret), next.CreatedAt.Add(overlap))
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// DeleteCredential removes a credential at once, and the tokens issued with it die. What replaces one in good hands is RotateCredential, which leaves them alive.
func (s *Service) DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error {
	return s.store.DeleteCredential(ctx, actor, agent, id)
}

func (s *Service) newCredential(agent agentid.Agent) Credential {
	return Credential{ID: agentid.New[agentid.Credential](), AgentID: agent, Kind: KindClientSecret, CreatedAt: s.clock()}
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

// AuthenticateSecret returns the active agent and the credential that matched. Every failure is the same error (ErrAuthentication) after the same work, whether the client
// exists or not. A store failure is a different error (Unavailable).
//
// The work is always: one query, one keyed hash, SecretsMax comparisons in constant time. An id that cannot exist is looked up like any other.
func (s *Service) AuthenticateSecret(ctx context.Context, clientID, secret string) (Agent, agentid.Credential, error) {
	id, parseErr := agentid.Parse[agentid.Agent](clientID)
	agent, stored, err := s.store.ClientForAuthentication(ctx, id, s.clock())
	if err != nil && !isNotFound(err) {
		return Agent{}, agentid.Credential{}, unavailable(err)
	}
	matched, ok := s.match(secret, stored)
	if parseErr != nil || err != nil || !ok || agent.Status != Active {
		return Agent{}, agentid.Credential{}, ErrAuthentication
	}
	return agent, matched, nil
}

// match compares with every stored hash and pads to SecretsMax, so that its time tells neither how many there are nor which one matched.
func (s *Service) match(secret string, stored []SecretHash) (agentid.Credential, bool) {
	got := s.hash(secret)
	var none [sha256.Size]byte
	var matched agentid.Credential
	found := 0
	for i := range max(SecretsMax, len(stored)) {
		if i >= len(stored) {
			subtle.ConstantTimeCompare(got, none[:])
			continue
		}
		if subtle.ConstantTimeCompare(got, stored[i].Hash) == 1 {
			matched, found = stored[i].Credential, 1
		}
	}
	return matched, found == 1
}

func isNotFound(err error) bool {
	var p *problem.Error
	return errors.As(err, &p) && p.Kind == problem.NotFound
}

func unavailable(err error) error {
	var p *problem.Error
	if errors.As(err, &p) && p.Kind == problem.Unavailable {
		return err
	}
	return &problem.Error{Kind: problem.Unavailable, Code: "store_unavailable", Detail: "try again later", RetryAfter: time.Second, Err: err}
}
