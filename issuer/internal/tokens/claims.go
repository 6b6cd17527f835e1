package tokens

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/agentidp/agentidp/issuer/internal/agents"
)

// accessClaims is RFC 9068 s2.2 and our org_id, credential_id and agent. Field order is the order in the token.
type accessClaims struct {
	Issuer         string          `json:"iss"`
	Subject        string          `json:"sub"` // for client credentials the client itself, RFC 9068 s2.2
	Audience       audience        `json:"aud"`
	ExpiresAt      int64           `json:"exp"`
	IssuedAt       int64           `json:"iat"`
	NotBefore      int64           `json:"nbf"`
	ID             string          `json:"jti"`
	ClientID       string          `json:"client_id"`
	Scope          string          `json:"scope,omitempty"` // space separated, RFC 9068 s2.2.3; left out when there is none, because a scope has one token at least (RFC 6749 s3.3)
	OrganizationID string          `json:"org_id"`
	CredentialID   string          `json:"credential_id"` // ours: what a deleted credential's tokens are known by
	SignIn         string          `json:"sid,omitempty"` // of a relying party: as in the ID token
	Agent          *agentClaims    `json:"agent,omitempty"`
	Actor          *Actor          `json:"act,omitempty"`
	Confirmation   *Confirmation   `json:"cnf,omitempty"`
	Details        json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 s9.1
}

// agentClaims are about the subject.
type agentClaims struct {
	Name         string   `json:"name"`
	DID          string   `json:"did"`
	Type         string   `json:"type"`
	Capabilities []string `json:"capabilities"`
}

// audience is a string when it is one, which everybody reads, else a list (RFC 7519 s4.1.3).
type audience []string

// MarshalJSON implements json.Marshaler.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

func (m *Minter) claims(a Authorization, notBefore, issued time.Time) accessClaims {
	expires := notBefore.Add(m.lifetime)
	if !a.NotAfter.IsZero() && a.NotAfter.Before(expires) {
		expires = a.NotAfter
	}
	c := accessClaims{
		Issuer: a.Issuer.ID, Audience: a.Audience, ExpiresAt: expires.Unix(), IssuedAt: issued.Unix(), NotBefore: notBefore.Unix(),
		ID: rand.Text(), ClientID: a.Agent.ID.String(), Scope: strings.Join(a.Scopes, " "), OrganizationID: a.Agent.OrganizationID.String(),
		Actor: a.Actor, Details: a.Details,
	}
	if a.RelyingParty != "" {
		c.ClientID = a.RelyingParty
	}
	if !a.SignIn.IsZero() {
		c.SignIn = a.SignIn.String()
	}
	switch {
	case a.Subject == nil:
		c.Subject, c.CredentialID, c.Agent = a.Agent.ID.String(), a.Credential.String(), m.describe(&a.Agent)
	case a.Subject.Agent == nil:
		c.Subject, c.CredentialID = a.Subject.ID, a.Credential.String()
	default:
		c.Subject, c.CredentialID, c.Agent = a.Subject.ID, a.Subject.Credential.String(), m.describe(a.Subject.Agent)
	}
	if a.Confirmation != (Confirmation{}) {
		c.Confirmation = &a.Confirmation
	}
	return c
}

func (m *Minter) describe(a *agents.Agent) *agentClaims {
	capabilities := a.Capabilities
	if capabilities == nil {
		capabilities = []string{}
	}
	return &agentClaims{a.Name, m.dids.Agent(a.ID), a.Type, capabilities}
}
