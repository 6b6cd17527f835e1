package clients

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// Credential is what a relying party proves itself with. It is of the kind that the client's authentication needs; the limits are those of agents' credentials.
type Credential struct {
	ID         agentid.Credential
	ClientID   agentid.Client
	Kind       string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: does not expire
	LastUsedAt time.Time // to the minute; zero: never

	Registration credentials.Registration // empty for a client secret
}

// CreateCredential makes a credential of a kind. lifetime 0 means no expiry. Of a client secret, the text is returned and never shown again.
func (s *Service) CreateCredential(ctx context.Context, actor audit.Actor, client agentid.Client, kind string, r credentials.Registration, lifetime time.Duration) (Credential, string, error) {
	next, err := s.newCredential(client, kind, r, lifetime)
	if err != nil {
		return Credential{}, "", err
	}
	secret, hash := s.secretOf(kind)
	c, err := s.store.CreateClientCredential(ctx, actor, next, hash)
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// Credentials lists a relying party's credentials, expired ones too, oldest first.
func (s *Service) Credentials(ctx context.Context, client agentid.Client) ([]Credential, error) {
	return s.store.ClientCredentials(ctx, client)
}

// Credential finds one of a relying party's credentials.
func (s *Service) Credential(ctx context.Context, client agentid.Client, id agentid.Credential) (Credential, error) {
	all, err := s.store.ClientCredentials(ctx, client)
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

// RotateCredential makes a new credential of the same kind; the old one keeps working for overlap. The new one lives as long as the old one was made for.
func (s *Service) RotateCredential(ctx context.Context, actor audit.Actor, old Credential, r credentials.Registration, overlap time.Duration) (Credential, string, error) {
	if err := credentials.CheckOverlap(overlap); err != nil {
		return Credential{}, "", err
	}
	next, err := s.newCredential(old.ClientID, old.Kind, r, 0)
	if err != nil {
		return Credential{}, "", err
	}
	secret, hash := s.secretOf(old.Kind)
	c, err := s.store.RotateClientCredential(ctx, actor, old.ID, next, hash, next.CreatedAt.Add(overlap))
	if err != nil {
		return Credential{}, "", err
	}
	return c, secret, nil
}

// DeleteCredential removes a credential at once. What was issued to the client is not touched by it.
func (s *Service) DeleteCredential(ctx context.Context, actor audit.Actor, client agentid.Client, id agentid.Credential) error {
	return s.store.DeleteClientCredential(ctx, actor, client, id)
}

func (s *Service) newCredential(client agentid.Client, kind string, r credentials.Registration, lifetime time.Duration) (Credential, error) {
	if err := credentials.CheckLifetime(lifetime); err != nil {
		return Credential{}, err
	}
	if kind != credentials.KindClientSecret {
		if err := r.Validate(kind); err != nil {
			return Credential{}, err
		}
	}
	c := Credential{ID: agentid.New[agentid.Credential](), ClientID: client, Kind: kind, CreatedAt: s.clock(), Registration: r}
	if lifetime != 0 {
		c.ExpiresAt = c.CreatedAt.Add(lifetime)
	}
	return c, nil
}

// secretOf makes the secret of a credential of a kind, if it has one.
func (s *Service) secretOf(kind string) (secret string, hash []byte) {
	if kind != credentials.KindClientSecret {
		return "", nil
	}
	return s.secrets.New()
}
