// Package audit holds the vocabulary of the audit log: who did what to what. Rows are written by package postgres in the transaction of the
// change they describe; there is no way to write a change without one.
package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agentidp/agentidp/internal/agentid"
)

// The kinds of actor.
const (
	KindBootstrap = "bootstrap" // the holder of the bootstrap admin token
	KindAgent     = "agent"
	KindClient    = "client" // a relying party
	KindSystem    = "system" // a component of the issuer, acting on its own
)

// Bounds of the text fields of an Actor, so that a row stays small whatever a client sends.
const (
	actorFieldBytesMax    = 128
	actorDocumentBytesMax = 512 // a client_id that is a URL (package clientdocument)
)

// Actor is who caused a change. The zero value is refused by every mutation.
type Actor struct {
	Kind      string // "bootstrap" (holder of the bootstrap admin token), "agent", "client", "system"
	ID        string // agent id or client_id, or "" for bootstrap; component name for system
	RequestID string
	Source    string // remote address, without port
}

// Validate says why no change may be recorded under this actor. Stores call it before they touch the database.
func (a Actor) Validate() error {
	idBytesMax := actorFieldBytesMax
	switch a.Kind {
	case KindBootstrap:
		if a.ID != "" {
			return errors.New("audit actor: the bootstrap actor has no id")
		}
	case KindAgent:
		if _, err := agentid.Parse[agentid.Agent](a.ID); err != nil {
			return fmt.Errorf("audit actor: %w", err)
		}
	case KindClient:
		if strings.HasPrefix(a.ID, "https://") {
			idBytesMax = actorDocumentBytesMax
			break
		}
		if _, err := agentid.Parse[agentid.Client](a.ID); err != nil {
			return fmt.Errorf("audit actor: %w", err)
		}
	case KindSystem:
		if a.ID == "" {
			return errors.New("audit actor: the system actor names its component")
		}
	case "":
		return errors.New("audit actor: missing")
	default:
		return errors.New("audit actor: unknown kind")
	}
	if err := checkField(a.ID, idBytesMax); err != nil {
		return err
	}
	for _, s := range []string{a.RequestID, a.Source} {
		if err := checkField(s, actorFieldBytesMax); err != nil {
			return err
		}
	}
	return nil
}

func checkField(s string, bytesMax int) error {
	if len(s) > bytesMax {
		return fmt.Errorf("audit actor: a field is longer than %d bytes", bytesMax)
	}
	if !utf8.ValidString(s) {
		return errors.New("audit actor: a field is not UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return errors.New("audit actor: a field holds a control character")
		}
	}
	return nil
}

// Action is a stable dotted name, "agent.suspend".
type Action string

// The actions this issuer records.
const (
	OrganizationCreate Action = "organization.create"
	OrganizationUpdate Action = "organization.update"
	OrganizationDelete Action = "organization.delete"
	OrganizationLimits Action = "organization.limits"
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
	TokenRevoke        Action = "token.revoke"
	AgentRegister      Action = "agent.register"

	InitialTokenCreate       Action = "initial_access_token.create"
	InitialTokenDelete       Action = "initial_access_token.delete"
	AgentRevokeTokens        Action = "agent.revoke_tokens"
	OrganizationRevokeTokens Action = "organization.revoke_tokens"

	ClientCreate   Action = "client.create"
	ClientUpdate   Action = "client.update"
	ClientRegister Action = "client.register"
	ClientDelete   Action = "client.delete"
	SignInCreate   Action = "sign_in.create"
	SignInRevoke   Action = "sign_in.revoke"
	KeyCreate      Action = "signing_key.create"
	KeyActivate    Action = "signing_key.activate"
	KeyRotate      Action = "signing_key.rotate" // an operator asked for it
	KeyRevoke      Action = "signing_key.revoke"
	KeyDestroy     Action = "signing_key.destroy"
	KeysetCreate   Action = "keyset.create"
	KeysetRewrap   Action = "keyset.rewrap"
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
	Since  time.Time // inclusive
	Until  time.Time // exclusive
}

// Store reads the log, newest first. It never returns a row of another organization.
//
// before is the id of the last record of the previous page; an id that is not in this organization's log ends the listing.
type Store interface {
	AuditRecords(ctx context.Context, org agentid.Organization, f Filter, before agentid.Event, limit int) ([]Record, error)
}
