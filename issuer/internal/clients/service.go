package clients

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

const (
	secretRandomBytes = 32
	// secretHashContext separates these keyed hashes from any other use of the same key.
	secretHashContext = "agentidp relying party secret v1\x00"
	hashKeyBytesMin   = 32 // the strength of the hash itself (RFC 2104 s3)
)

// Service validates and delegates.
type Service struct {
	store   Store
	hashKey []byte
	now     func() time.Time
}

// NewService takes the key for the keyed hashes of secrets, at least 32 bytes.
func NewService(store Store, secretHashKey []byte, now func() time.Time) (*Service, error) {
	if len(secretHashKey) < hashKeyBytesMin {
		return nil, errors.New("the key for client secret hashes must be at least 32 bytes")
	}
	return &Service{store: store, hashKey: bytes.Clone(secretHashKey), now: now}, nil
}

// clock is the injected time at the resolution of PostgreSQL.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Create registers a relying party with a fresh id. It returns the secret, which is never shown again; "" when the client has none.
func (s *Service) Create(ctx context.Context, actor audit.Actor, in Client) (Client, string, error) {
	in.ID, in.CreatedAt, in.Version = agentid.New[agentid.Client](), s.clock(), 1
	in.UpdatedAt, in.SecretHash = in.CreatedAt, nil
	if err := check(&in); err != nil {
		return Client{}, "", err
	}
	secret := ""
	if !in.Public() {
		secret = newSecret()
		in.SecretHash = s.hash(secret)
	}
	c, err := s.store.CreateClient(ctx, actor, in)
	if err != nil {
		return Client{}, "", err
	}
	return c, secret, nil
}

// Get returns one relying party.
func (s *Service) Get(ctx context.Context, id agentid.Client) (Client, error) {
	return s.store.Client(ctx, id)
}

// List returns up to limit relying parties of an organization in order of creation, those after the given id.
func (s *Service) List(ctx context.Context, org agentid.Organization, after agentid.Client, limit int) ([]Client, error) {
	return s.store.Clients(ctx, org, after, limit)
}

// Update applies change to what may be changed and checks the result as Create does. A client that begins to need a secret cannot be made so: it is another client.
func (s *Service) Update(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, change func(*Client)) (Client, error) {
	return s.store.UpdateClient(ctx, actor, id, version, func(c *Client) error {
		before := *c
		change(c)
		c.SecretHash, c.UpdatedAt = before.SecretHash, s.clock()
		if c.Public() != before.Public() {
			return invalid("/authentication", "authentication_fixed", "cannot change between none and a method with a secret; register another client")
		}
		return check(c)
	})
}

// RotateSecret replaces the secret at once and returns the new one.
func (s *Service) RotateSecret(ctx context.Context, actor audit.Actor, id agentid.Client) (Client, string, error) {
	secret := newSecret()
	c, err := s.store.UpdateClient(ctx, actor, id, 0, func(c *Client) error {
		if c.Public() {
			return &problem.Error{Kind: problem.Conflict, Code: "client_has_no_secret", Detail: "the client authenticates by none"}
		}
		c.SecretHash, c.UpdatedAt = s.hash(secret), s.clock()
		return nil
	})
	if err != nil {
		return Client{}, "", err
	}
	return c, secret, nil
}

// Delete removes a relying party and every sign-in to it.
func (s *Service) Delete(ctx context.Context, actor audit.Actor, id agentid.Client, version int64) error {
	return s.store.DeleteClient(ctx, actor, id, version)
}

// AuthenticateSecret returns the relying party when the secret is its own and it is registered for the method. Every failure is
// agents.ErrAuthentication after the same work, whether the client exists or not; a store failure is a different error.
func (s *Service) AuthenticateSecret(ctx context.Context, clientID, secret string, method Authentication) (Client, error) {
	id, parseErr := agentid.Parse[agentid.Client](clientID)
	c, err := s.store.Client(ctx, id)
	if err != nil && problem.KindOf(err) != problem.NotFound {
		return Client{}, err
	}
	want := c.SecretHash
	if len(want) != sha256.Size {
		want = make([]byte, sha256.Size)
	}
	equal := subtle.ConstantTimeCompare(s.hash(secret), want) == 1
	if parseErr != nil || err != nil || !equal || c.Authentication != method {
		return Client{}, agents.ErrAuthentication
	}
	return c, nil
}

func newSecret() string {
	b := make([]byte, secretRandomBytes)
	rand.Read(b) // never fails, by contract of crypto/rand
	return agents.SecretPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// hash is what is stored: a fast keyed hash, because there are 256 random bits and nothing to guess.
func (s *Service) hash(secret string) []byte {
	m := hmac.New(sha256.New, s.hashKey)
	m.Write([]byte(secretHashContext))
	m.Write([]byte(secret))
	return m.Sum(nil)
}
