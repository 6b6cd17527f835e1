package tokens

import (
	"encoding/json"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// Authorization is what a grant allowed. Everything in a token comes from here, from the agent's record, or from us.
type Authorization struct {
	Issuer       issuers.Issuer     // who says so, and signs it
	Agent        agents.Agent       // the client, or who signed in to it
	RelyingParty string             // client_id of a relying party; "" when the agent is the client
	SignIn       agentid.SignIn     // of a relying party, with which the token dies; zero for none
	Credential   agentid.Credential // what the client authenticated with; the token dies with it
	Audience     []string           // at least one
	Scopes       []string
	Details      json.RawMessage // RFC 9396: a list of objects, passed on as it is; nil for none
	Confirmation Confirmation

	Subject *Subject // whom the token speaks of; nil for the client itself
	Actor   *Actor   // who acts for the subject, nearest first; nil for nobody
	// Assertion is set for what is redeemed elsewhere and is no access token.
	Assertion *Assertion
	NotAfter  time.Time // the token ends then, if not before; zero for no such end
	// NotBefore is when that was issued, or happened, which the token is made from: what is older than a watermark makes no token, so a token that is not older than it is not older than the watermark
	// either. Zero for nothing.
	NotBefore time.Time
}

// Confirmation is what whoever presents the token must prove to hold (RFC 7800), as sidecars read it. Of several all must be proven.
type Confirmation struct {
	KeyThumbprint     string `json:"jkt,omitempty"`      // RFC 9449 s6.1
	CertificateSHA256 string `json:"x5t#S256,omitempty"` // RFC 8705 s3.1
}

// Subject is somebody besides the client.
type Subject struct {
	ID         string             // sub
	Agent      *agents.Agent      // its record, nil when it is no agent of ours
	Credential agentid.Credential // of the token it was verified by; zero when it is no agent of ours
}

// Actor is a link of the act chain (RFC 8693 s4.1), with what its own tokens could be revoked by: the token dies with each of its actors. What a
// relying party acts by is the sign-in.
type Actor struct {
	Subject        string `json:"sub"`
	Issuer         string `json:"iss,omitempty"` // when it is not the token's
	OrganizationID string `json:"org_id,omitempty"`
	CredentialID   string `json:"credential_id,omitempty"`
	Actor          *Actor `json:"act,omitempty"`
}

// notBefore is the latest of what the token must not be older than.
func (a *Authorization) notBefore() time.Time {
	if a.NotBefore.After(a.Agent.TokensNotBefore) {
		return a.NotBefore
	}
	return a.Agent.TokensNotBefore
}
