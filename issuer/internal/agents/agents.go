// Package agents holds agents and their credentials.
package agents

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Status of an agent. Suspended agents get no tokens and their tokens die; they can come back. Revoked is final.
//
//	active ⇄ suspended
//	   └──────┴──────► revoked
type Status string

const (
	Active    Status = "active"
	Suspended Status = "suspended"
	Revoked   Status = "revoked"
)

// Agent is one software agent of one organization. Its id is also its OAuth client_id.
type Agent struct {
	ID              agentid.Agent
	OrganizationID  agentid.Organization
	Name            string   // 1 to 100 characters, unique in the organization
	Type            string   // free label, [a-z0-9-], up to 40, e.g. "assistant"; may be empty
	Description     string   // up to 500 characters
	Capabilities    []string // up to 50 of [a-z0-9_.:-]{1,100}
	Scopes          []string // scopes it may ask for: up to 100 RFC 6749 scope-tokens of up to 100 characters
	Audiences       []string // absolute URIs it may ask for (RFC 8707); 1 to 8; the first is the default
	Status          Status
	TokensNotBefore time.Time // tokens issued before this are dead (set by suspend, kept after reactivate); zero when never
	CreatedAt       time.Time
	UpdatedAt       time.Time
	Version         int64
}

// Credential authenticates an agent to the token endpoint.
type Credential struct {
	ID         agentid.Credential
	AgentID    agentid.Agent
	Kind       string // "client_secret"
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: does not expire
	LastUsedAt time.Time // to the minute; zero: never
}

// Requests. A nil field of Update is left as it is.
type Create struct {
	OrganizationID                  agentid.Organization
	Name, Type, Description         string
	Capabilities, Scopes, Audiences []string
}
type Update struct {
	Name, Type, Description         *string
	Capabilities, Scopes, Audiences *[]string
}

// Store keeps agents and credentials; contracts as orgs.Store. Every method that takes an agent id alone finds its organization first (platform role) and then
// works inside that organization (app role, row-level security).
type Store interface {
	CreateAgent(ctx context.Context, actor audit.Actor, a Agent) (Agent, error)
	Agent(ctx context.Context, id agentid.Agent) (Agent, error)
	Agents(ctx context.Context, org agentid.Organization, after agentid.Agent, limit int) ([]Agent, error)
	// UpdateAgent locks the row, applies change, writes it with Version+1 and the audit row (action, details) together.
	UpdateAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, action audit.Action, change func(*Agent) error) (Agent, error)
	DeleteAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error
	CreateCredential(ctx context.Context, actor audit.Actor, c Credential, secretHash []byte) (Credential, error)
	Credentials(ctx context.Context, agent agentid.Agent) ([]Credential, error)
	// RotateCredential creates next and makes old expire at overlapUntil (or its own earlier expiry), in one transaction.
	RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, old agentid.Credential, next Credential, nextHash []byte, overlapUntil time.Time) (Credential, error)
	DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error
	// ClientForAuthentication is one query: the agent and every unexpired secret hash. NotFound when there is no such agent.
	ClientForAuthentication(ctx context.Context, id agentid.Agent, now time.Time) (Agent, []SecretHash, error)
	// RecordTokenIssued writes the token.issue audit row and the credential's last use in one transaction, and fails (NotFound) when the agent
	// is no longer active or the credential is gone: no token leaves without its audit row.
	RecordTokenIssued(ctx context.Context, actor audit.Actor, agent Agent, credential agentid.Credential, details map[string]any) error
}

// SecretHash is the stored keyed hash of one client secret.
type SecretHash struct {
	Credential agentid.Credential
	Hash       []byte
}

// Service validates and delegates.
type Service struct{ store Store }

// NewService takes the key for the keyed hashes of client secrets (at least 32 bytes).
func NewService(store Store, secretHashKey []byte, now func() time.Time) (*Service, error) {
	panic("contract")
}

func (s *Service) Create(ctx context.Context, actor audit.Actor, in Create) (Agent, error) {
	panic("contract")
}
func (s *Service) Get(ctx context.Context, id agentid.Agent) (Agent, error) { panic("contract") }
func (s *Service) List(ctx context.Context, org agentid.Organization, after agentid.Agent, limit int) ([]Agent, error) {
	panic("contract")
}
func (s *Service) Update(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, in Update) (Agent, error) {
	panic("contract")
}
func (s *Service) Delete(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error {
	panic("contract")
}
func (s *Service) Suspend(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	panic("contract")
}
func (s *Service) Reactivate(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	panic("contract")
}
func (s *Service) Revoke(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	panic("contract")
}

// CreateCredential returns the secret; it is never shown again. lifetime 0 means no expiry. At most two unexpired client secrets at a time.
func (s *Service) CreateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, lifetime time.Duration) (Credential, string, error) {
	panic("contract")
}
func (s *Service) Credentials(ctx context.Context, agent agentid.Agent) ([]Credential, error) {
	panic("contract")
}

// RotateCredential returns a new credential and secret; the old one keeps working for overlap.
func (s *Service) RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, overlap time.Duration) (Credential, string, error) {
	panic("contract")
}
func (s *Service) DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error {
	panic("contract")
}

// AuthenticateSecret returns the active agent and the credential that matched. Every failure is the same error (ErrAuthentication) after the same work, whether the client
// exists or not. A store failure is a different error (Unavailable).
func (s *Service) AuthenticateSecret(ctx context.Context, clientID, secret string) (Agent, agentid.Credential, error) {
	panic("contract")
}

// RecordTokenIssued is Store.RecordTokenIssued.
func (s *Service) RecordTokenIssued(ctx context.Context, actor audit.Actor, agent Agent, credential agentid.Credential, details map[string]any) error {
	panic("contract")
}
