// Package selfregistration lets programs register themselves as agents and relying parties: OAuth 2.0 Dynamic Client Registration (RFC 7591) and its management protocol (RFC 7592).
//
// A registered client is an agent or a relying party with one credential, of the organization whose administrator made the initial access token that opened the door. The token
// says for how many clients of which kinds and how long it is good, which audiences they get and which scopes they may ask for; a registration never gets more than that.
package selfregistration

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// Limits of an initial access token, and of how many an organization has.
const (
	UsesMax     = 1000
	LifetimeMin = time.Minute
	LifetimeMax = 90 * 24 * time.Hour
	TokensMax   = 100
	// SecretOverlap is how long a secret that an update replaces still works, if its own end is not earlier.
	SecretOverlap = time.Hour
)

// The kinds of clients an initial access token can register.
const (
	KindAgent        = "agent"
	KindRelyingParty = "relying_party"
)

// InitialToken is an initial access token (RFC 7591 s1.2) without its secret.
type InitialToken struct {
	ID             agentid.InitialToken
	OrganizationID agentid.Organization
	Name           string        // for people, 1 to 100 characters
	Kinds          []string      // of clients it registers, at least one
	Scopes         []string      // what they may have at most
	Audiences      []string      // what they get
	Uses, UsesMax  int           // registrations so far, and at most
	SecretLifetime time.Duration // of their client secrets; 0: they do not expire
	CreatedAt      time.Time
	ExpiresAt      time.Time
	Hash           []byte // keyed hash of the text
}

// Registered is an agent that registered itself.
type Registered struct {
	agents.Prepared
	Token          InitialToken
	Authentication string // token_endpoint_auth_method
	Hash           []byte // keyed hash of its registration access token
}

// Registration is what is kept of it.
type Registration struct {
	Agent          agentid.Agent
	Authentication string        // token_endpoint_auth_method; "" when its credential was gone before this was kept
	SecretLifetime time.Duration // of its client secrets; 0: they do not expire
	Scopes         []string      // what it may have at most
	Hash           []byte
	CreatedAt      time.Time
}

// RegisteredClient is a relying party that registered itself.
type RegisteredClient struct {
	clients.Prepared
	Token InitialToken
	Hash  []byte // as Registered's
}

// ClientRegistration is what is kept of it.
type ClientRegistration struct {
	Client         agentid.Client
	SecretLifetime time.Duration
	Scopes         []string
	Hash           []byte
	CreatedAt      time.Time
}

// Store keeps initial access tokens and registrations; contracts as agents.Store.
type Store interface {
	// CreateInitialToken forgets expired ones, and answers Conflict when there are TokensMax others, NotFound when there is no such organization.
	CreateInitialToken(ctx context.Context, actor audit.Actor, t InitialToken) error
	InitialTokens(ctx context.Context, org agentid.Organization) ([]InitialToken, error)
	InitialToken(ctx context.Context, org agentid.Organization, id agentid.InitialToken) (InitialToken, error)
	// DeleteInitialToken leaves the clients alone that were registered with it.
	DeleteInitialToken(ctx context.Context, actor audit.Actor, org agentid.Organization, id agentid.InitialToken) error
	// RegisterAgent stores agent, credential and registration and uses the token once, all or nothing. NotFound when the token is used up, expired or gone.
	RegisterAgent(ctx context.Context, actor audit.Actor, r Registered) error
	Registration(ctx context.Context, org agentid.Organization, agent agentid.Agent) (Registration, error)
	// UpdateRegistration changes the method of a registration, as an update of the agent.
	UpdateRegistration(ctx context.Context, actor audit.Actor, before Registration, authentication string) error
	// RegisterClient is RegisterAgent for a relying party.
	RegisterClient(ctx context.Context, actor audit.Actor, r RegisteredClient) error
	ClientRegistration(ctx context.Context, org agentid.Organization, id agentid.Client) (ClientRegistration, error)
}

// Service is what administrators do.
type Service struct {
	store   Store
	secrets Secrets
	now     func() time.Time
}

// NewService returns a Service.
func NewService(store Store, secrets Secrets, now func() time.Time) *Service {
	return &Service{store, secrets, now}
}

// Create makes an initial access token and returns its text, which is never shown again.
func (s *Service) Create(ctx context.Context, actor audit.Actor, in InitialToken, lifetime time.Duration) (InitialToken, string, error) {
	if err := fields.CheckName("/name", in.Name); err != nil {
		return InitialToken{}, "", err
	}
	if err := fields.CheckScopes("/scopes", in.Scopes); err != nil {
		return InitialToken{}, "", err
	}
	if err := checkKinds(in.Kinds); err != nil {
		return InitialToken{}, "", err
	}
	if len(in.Audiences) == 0 && slices.Contains(in.Kinds, KindAgent) {
		return InitialToken{}, "", fields.Invalid("/audiences", "audiences_count", "must have at least one entry: an agent without audience gets no token")
	}
	if err := fields.CheckAudiences("/audiences", in.Audiences); err != nil {
		return InitialToken{}, "", err
	}
	if in.UsesMax < 1 || in.UsesMax > UsesMax {
		return InitialToken{}, "", fields.Invalid("/uses", "out_of_range", fmt.Sprintf("must be 1 to %d", UsesMax))
	}
	if lifetime < LifetimeMin || lifetime > LifetimeMax {
		return InitialToken{}, "", fields.Invalid("/lifetimeSeconds", "out_of_range", fmt.Sprintf("must be %d to %d", LifetimeMin/time.Second, LifetimeMax/time.Second))
	}
	if in.SecretLifetime != 0 && (in.SecretLifetime < credentials.LifetimeMin || in.SecretLifetime > credentials.LifetimeMax) {
		return InitialToken{}, "", fields.Invalid("/secretLifetimeSeconds", "out_of_range", fmt.Sprintf("must be 0 (no expiry) or %d to %d", credentials.LifetimeMin/time.Second, credentials.LifetimeMax/time.Second))
	}
	in.ID, in.Uses, in.CreatedAt = agentid.New[agentid.InitialToken](), 0, s.now().UTC().Truncate(time.Microsecond)
	in.ExpiresAt = in.CreatedAt.Add(lifetime)
	var text string
	text, in.Hash = s.secrets.issue(initialPrefix, in.OrganizationID, in.ID.UUID())
	return in, text, s.store.CreateInitialToken(ctx, actor, in)
}

// List returns an organization's tokens, expired and used up ones too, oldest first.
func (s *Service) List(ctx context.Context, org agentid.Organization) ([]InitialToken, error) {
	return s.store.InitialTokens(ctx, org)
}

// Delete closes the door; who came through it stays.
func (s *Service) Delete(ctx context.Context, actor audit.Actor, org agentid.Organization, id agentid.InitialToken) error {
	return s.store.DeleteInitialToken(ctx, actor, org, id)
}

func checkKinds(kinds []string) error {
	if len(kinds) == 0 {
		return fields.Invalid("/kinds", "kind_unknown", "must name at least one kind of client")
	}
	for i, k := range kinds {
		if k != KindAgent && k != KindRelyingParty {
			return fields.Invalid(fmt.Sprintf("/kinds/%d", i), "kind_unknown", "must be "+KindAgent+" or "+KindRelyingParty)
		}
		if slices.Contains(kinds[:i], k) {
			return fields.Invalid(fmt.Sprintf("/kinds/%d", i), "duplicate_entry", "is in the list already")
		}
	}
	return nil
}
