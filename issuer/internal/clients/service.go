package clients

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// Service validates and delegates.
type Service struct {
	store   Store
	secrets credentials.Secrets
	now     func() time.Time
}

// NewService takes the key for the keyed hashes of secrets, at least 32 bytes.
func NewService(store Store, secretHashKey []byte, now func() time.Time) (*Service, error) {
	secrets, err := credentials.NewSecrets(secretHashKey, "agentidp relying party secret v1")
	if err != nil {
		return nil, err
	}
	return &Service{store: store, secrets: secrets, now: now}, nil
}

// clock is the injected time at the resolution of PostgreSQL.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Create registers a relying party with a fresh id and its first credential, which does not expire and is checked against r. A secret is returned, and never shown
// again. A client of None has no credential: it is nil.
func (s *Service) Create(ctx context.Context, actor audit.Actor, in Client, r credentials.Registration) (Client, *Credential, string, error) {
	p, err := s.Prepare(in, r, 0)
	if err != nil {
		return Client{}, nil, "", err
	}
	c, err := s.store.CreateClient(ctx, actor, p.Client, p.Credential, p.SecretHash)
	if err != nil {
		return Client{}, nil, "", err
	}
	return c, p.Credential, p.Secret, nil
}

// Prepared is a relying party with its first credential, checked, and stored nowhere yet: it is for whoever stores both together with something else.
type Prepared struct {
	Client     Client
	Credential *Credential // nil with None
	Secret     string      // of a client_secret, never shown again; "" of any other kind
	SecretHash []byte      // what is stored of it
}

// Prepare checks as Create and CreateCredential do.
func (s *Service) Prepare(in Client, r credentials.Registration, lifetime time.Duration) (Prepared, error) {
	in.ID, in.CreatedAt, in.Version = agentid.New[agentid.Client](), s.clock(), 1
	in.UpdatedAt = in.CreatedAt
	if err := check(&in); err != nil {
		return Prepared{}, err
	}
	p := Prepared{Client: in}
	kind := in.Authentication.Kind()
	if kind == "" {
		return p, nil
	}
	c, err := s.newCredential(in.ID, kind, r, lifetime)
	if err != nil {
		return Prepared{}, err
	}
	p.Credential = &c
	p.Secret, p.SecretHash = s.secretOf(kind)
	return p, nil
}

// Get returns one relying party.
func (s *Service) Get(ctx context.Context, id agentid.Client) (Client, error) {
	return s.store.Client(ctx, id)
}

// List returns up to limit relying parties of an organization in order of creation, those after the given id.
func (s *Service) List(ctx context.Context, org agentid.Organization, after agentid.Client, limit int) ([]Client, error) {
	return s.store.Clients(ctx, org, after, limit)
}

// Update applies change to what may be changed and checks the result as Create does. A client that begins to need a credential cannot be made so: it is another
// client. To a method with another kind of credential it changes when those it has are deleted.
func (s *Service) Update(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, change func(*Client)) (Client, error) {
	return s.store.UpdateClient(ctx, actor, id, version, func(c *Client) error {
		before := *c
		change(c)
		c.UpdatedAt = s.clock()
		if c.Public() != before.Public() {
			return fields.Invalid("/authentication", "authentication_fixed", "cannot change between none and a method with a credential; register another client")
		}
		return check(c)
	})
}

// Delete removes a relying party and every sign-in to it.
func (s *Service) Delete(ctx context.Context, actor audit.Actor, id agentid.Client, version int64) error {
	return s.store.DeleteClient(ctx, actor, id, version)
}
