// Package audit holds the vocabulary of the audit log: who did what to what. Rows are written by package postgres in the transaction of the
// change they describe; there is no way to write a change without one.
package audit

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
)

// Actor is who caused a change. The zero value is refused by every mutation.
type Actor struct {
	Kind      string // "bootstrap" (holder of the bootstrap admin token), "agent", "system"
	ID        string // agent id, or "" for bootstrap; component name for system
	RequestID string
	Source    string // remote address, without port
}

// Action is a stable dotted name, "agent.suspend".
type Action string

const (
	OrganizationCreate Action = "organization.create"
	OrganizationUpdate Action = "organization.update"
	OrganizationDelete Action = "organization.delete"
	AgentCreate        Action = "agent.create"
	AgentUpdate        Action = "agent.update"
	AgentDelete        Action = "agent.delete"
	AgentSuspend       Action = "agent.suspend"
	AgentReactivate    Action = "agent.reactivate"
	AgentRevoke        Action = "agent.revoke"
	CredentialCreate   Action = "credential.create"
	CredentialRotate   Action = "credential.rotate"
	CredentialDelete   Action = "credential.delete"
	TokenIssue         Action = "token.issue"
	KeyCreate          Action = "signing_key.create"
)

// Record is one row as read back.
type Record struct {
	ID             agentid.Event
	OrganizationID agentid.Organization // zero for instance-level events
	Time           time.Time
	Actor          Actor
	Action         Action
	Target         string         // id of the changed object
	Details        map[string]any // what changed; never a secret
}

// Filter of a listing; zero fields do not filter.
type Filter struct {
	Action Action
	Target string
	Since  time.Time
	Until  time.Time
}

// Store reads the log, newest first. It never returns a row of another organization.
type Store interface {
	AuditRecords(ctx context.Context, org agentid.Organization, f Filter, before agentid.Event, limit int) ([]Record, error)
}
