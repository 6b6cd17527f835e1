// Package identity turns a token into a verified Identity against one Snapshot. It does no I/O: what is not in the
// snapshot is not known, and what is not known is refused, or cannot be decided when it is ours to know.
package identity

import "github.com/agentidp/agentidp/internal/policy"

// Where an identity comes from. Federated issuers are told apart once partners exist.
const OriginLocal = "local"

// ConfirmationNone says that whoever holds the token may use it.
const ConfirmationNone = "none"

// Identity is who calls, as far as the token proves it. It is never changed after it was verified, and shared between
// requests.
type Identity struct {
	Subject        string // visible characters, at most 512 bytes
	OrganizationID string // visible ASCII, at most 512 bytes, as is ClientID
	Issuer         string
	Origin         string
	ClientID       string // may be empty
	Scopes         []string
	AgentName      string   // agent.name; may be empty, may hold any characters
	Actors         []string // sub of each link of the act chain, nearest first
	Confirmation   string
	TokenID        string
	KeyID          string
	IssuedAt       int64 // seconds
	ExpiresAt      int64
	NotBefore      int64 // 0 when absent

	document policy.Value
}

// Document is input.identity for policies (design.md 6), made once per verified token.
func (i *Identity) Document() policy.Value { return i.document }
