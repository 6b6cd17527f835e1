// Package agents holds agents and their credentials.
package agents

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// Status of an agent. Suspended agents get no tokens and their tokens die; they can come back. Revoked is final.
//
//	active ⇄ suspended
//	   └──────┴──────► revoked
type Status string

// The states of an agent.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
	Revoked   Status = "revoked"
)

// Agent is one software agent of one organization. Its id is also its OAuth client_id.
type Agent struct {
	ID             agentid.Agent
	OrganizationID agentid.Organization
	Name           string   // 1 to 100 characters, unique in the organization
	Type           string   // free label, [a-z0-9-], up to 40, e.g. "assistant"; may be empty
	Description    string   // up to 500 characters
	Capabilities   []string // up to 50 of [a-z0-9_.:-]{1,100}
	Scopes         []string // scopes it may ask for: up to 100 RFC 6749 scope-tokens of up to 100 characters
	Audiences      []string // absolute URIs it may ask for (RFC 8707); 1 to 8; the first is the default
	Serves         []string // absolute URIs it is itself: it may exchange tokens that were meant for them; up to 8
	// Tokens of the agent are bound to a key (RFC 9449) or to its TLS client certificate (RFC 8705), and without one it gets none. The names are those of
	// client metadata: dpop_bound_access_tokens, tls_client_certificate_bound_access_tokens.
	DPoPBound, CertificateBound bool

	Status          Status
	TokensNotBefore time.Time // tokens issued before this are dead (set by suspend, kept after reactivate); whole seconds; zero when never
	CreatedAt       time.Time
	UpdatedAt       time.Time
	Version         int64
}

// Organization is whose client it is.
func (a Agent) Organization() agentid.Organization { return a.OrganizationID }

// Changes is what differs from before, as details of an audit record. Of a new agent (before is zero) it is what the agent has.
func (a Agent) Changes(before Agent) map[string]any {
	changes := audit.NewDifferences(before.ID.IsZero())
	audit.Compare(changes, "name", before.Name, a.Name)
	audit.Compare(changes, "type", before.Type, a.Type)
	audit.Compare(changes, "description", before.Description, a.Description)
	audit.CompareLists(changes, "capabilities", before.Capabilities, a.Capabilities)
	audit.CompareLists(changes, "scopes", before.Scopes, a.Scopes)
	audit.CompareLists(changes, "audiences", before.Audiences, a.Audiences)
	audit.CompareLists(changes, "serves", before.Serves, a.Serves)
	audit.Compare(changes, "dpopBoundAccessTokens", before.DPoPBound, a.DPoPBound)
	audit.Compare(changes, "tlsClientCertificateBoundAccessTokens", before.CertificateBound, a.CertificateBound)
	audit.Compare(changes, "status", before.Status, a.Status)
	if !a.TokensNotBefore.Equal(before.TokensNotBefore) {
		changes.Details["tokensNotBefore"] = a.TokensNotBefore.UTC().Format(time.RFC3339)
	}
	return changes.Details
}

// Credential authenticates an agent to the token endpoint.
type Credential struct {
	ID         agentid.Credential
	AgentID    agentid.Agent
	Kind       string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: does not expire
	LastUsedAt time.Time // to the minute; zero: never

	Registration credentials.Registration // empty for a client secret
}

// Create and Update are requests. A nil field of Update is left as it is.
type (
	Create struct {
		OrganizationID                  agentid.Organization
		Name, Type, Description         string
		Capabilities, Scopes, Audiences []string
		Serves                          []string
		DPoPBound, CertificateBound     bool
	}
	Update struct {
		Name, Type, Description         *string
		Capabilities, Scopes, Audiences *[]string
		Serves                          *[]string
		DPoPBound, CertificateBound     *bool
	}
)

// Store keeps agents and credentials; contracts as orgs.Store. Every method that takes an agent id alone finds its organization first (platform role) and then
// works inside that organization (app role, row-level security).
type Store interface {
	CreateAgent(ctx context.Context, actor audit.Actor, a Agent) (Agent, error)
	Agent(ctx context.Context, id agentid.Agent) (Agent, error)
	Agents(ctx context.Context, org agentid.Organization, after agentid.Agent, limit int) ([]Agent, error)
	// UpdateAgent locks the row, applies change, writes it with Version+1 and the audit row (action, details) together.
	UpdateAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, action audit.Action, change func(*Agent) error) (Agent, error)
	DeleteAgent(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error
	// CreateCredential refuses (Conflict) a revoked agent, and a third credential of the kind that is unexpired at c.CreatedAt. secretHash is nil but for a secret.
	CreateCredential(ctx context.Context, actor audit.Actor, c Credential, secretHash []byte) (Credential, error)
	Credentials(ctx context.Context, agent agentid.Agent) ([]Credential, error)
	// RotateCredential creates next and makes old expire at overlapUntil (or its own earlier expiry), in one transaction. Conflict when old is expired or of
	// another kind, or when more than two of the kind would be unexpired afterwards.
	RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, old agentid.Credential, next Credential, nextHash []byte, overlapUntil time.Time) (Credential, error)
	// DeleteCredential puts the credential on the revocation list in the same transaction.
	DeleteCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential) error
	// ClientForAuthentication is one query: the agent and what every unexpired credential is checked against. NotFound when there is no such agent.
	ClientForAuthentication(ctx context.Context, id agentid.Agent, now time.Time) (Agent, []credentials.Registered, error)
	// RecordTokenIssued writes the token.issue audit row, the credential's last use and what the token uses up in one transaction, and fails (NotFound) when
	// the agent is no longer active or the credential is gone or expired, or the same is so of a holder; issuance.UsedError when something was used before. No token
	// leaves without its audit row. It waits for a suspension under way.
	RecordTokenIssued(ctx context.Context, actor audit.Actor, i issuance.Record) error
	// UseUp uses something up on its own, before whatever follows; issuance.UsedError when it was used before, by whichever process. org is zero for what a client uses that
	// belongs to no organization.
	UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error
}
