// Package tokens turns an authorization into a signed token: RFC 9068 access tokens, and nothing a stranger could have put into them.
package tokens

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// Lifetimes of access tokens. A token cannot be called back from a verifier that is not one of our sidecars, so it must not live long.
const (
	LifetimeDefault = 5 * time.Minute
	LifetimeMin     = 30 * time.Second // shorter ones expire on the way
	LifetimeMax     = 15 * time.Minute
)

// typeAccessToken is the typ header, RFC 9068 s2.1.
const typeAccessToken = "at+jwt"

// Authorization is what a grant allowed. Everything in a token comes from here, from the agent's record, or from us.
type Authorization struct {
	Issuer     issuers.Issuer // who says so, and signs it
	Agent      agents.Agent
	Credential agentid.Credential // what the client authenticated with; the token dies with it
	Audience   string
	Scopes     []string
}

// AccessToken is a signed token and what is told about it.
type AccessToken struct {
	Text      string // the secret part
	ID        string // jti
	KeyID     string
	Scope     string
	IssuedAt  time.Time
	ExpiresAt time.Time
	ExpiresIn time.Duration // from now, as the client sees it
}

// Minter signs tokens, each with the keys of the issuer its authorization names.
type Minter struct {
	lifetime time.Duration
	dids     did.Namespace
	now      func() time.Time
}

// NewMinter refuses lifetimes outside LifetimeMin and LifetimeMax.
func NewMinter(lifetime time.Duration, dids did.Namespace, now func() time.Time) (*Minter, error) {
	if lifetime < LifetimeMin || lifetime > LifetimeMax {
		return nil, fmt.Errorf("token lifetime %s: want %s to %s", lifetime, LifetimeMin, LifetimeMax)
	}
	return &Minter{lifetime.Truncate(time.Second), dids, now}, nil
}

// accessClaims is RFC 9068 s2.2 and what the design adds. Field order is the order in the token.
type accessClaims struct {
	Issuer         string      `json:"iss"`
	Subject        string      `json:"sub"` // for client credentials the client itself, RFC 9068 s2.2
	Audience       string      `json:"aud"`
	ExpiresAt      int64       `json:"exp"`
	IssuedAt       int64       `json:"iat"`
	NotBefore      int64       `json:"nbf"`
	ID             string      `json:"jti"`
	ClientID       string      `json:"client_id"`
	Scope          string      `json:"scope"` // space separated, RFC 9068 s2.2.3; may be empty
	OrganizationID string      `json:"org_id"`
	CredentialID   string      `json:"credential_id"` // ours: what a deleted credential's tokens are known by
	Agent          agentClaims `json:"agent"`
}

type agentClaims struct {
	Name         string   `json:"name"`
	DID          string   `json:"did"`
	Type         string   `json:"type"`
	Capabilities []string `json:"capabilities"`
}

// AccessToken signs a token for an authorization.
func (m *Minter) AccessToken(a Authorization) (AccessToken, error) {
	if !a.Issuer.Admits(a.Agent.OrganizationID) {
		return AccessToken{}, errors.New("the agent is no client of this issuer")
	}
	key, err := a.Issuer.Keys.Signer(keys.AccessToken)
	if err != nil {
		return AccessToken{}, fmt.Errorf("signing key: %w", err)
	}
	if a.Credential.IsZero() {
		return AccessToken{}, errors.New("no credential: such a token could not be revoked by it")
	}
	now := m.now()
	notBefore := now.Truncate(time.Second)
	issued := issuedAt(notBefore, a.Agent.TokensNotBefore)
	claims := m.claims(a, notBefore, issued)
	payload, err := json.Marshal(claims)
	if err != nil {
		return AccessToken{}, fmt.Errorf("encode claims: %w", err)
	}
	text, err := key.Sign(typeAccessToken, payload)
	if err != nil {
		return AccessToken{}, fmt.Errorf("sign: %w", err)
	}
	expires := time.Unix(claims.ExpiresAt, 0).UTC()
	return AccessToken{
		Text: text, ID: claims.ID, KeyID: key.ID(), Scope: claims.Scope,
		IssuedAt: issued.UTC(), ExpiresAt: expires, ExpiresIn: expires.Sub(now).Truncate(time.Second),
	}, nil
}

func (m *Minter) claims(a Authorization, notBefore, issued time.Time) accessClaims {
	capabilities := a.Agent.Capabilities
	if capabilities == nil {
		capabilities = []string{}
	}
	return accessClaims{
		Issuer: a.Issuer.ID, Subject: a.Agent.ID.String(), Audience: a.Audience,
		ExpiresAt: notBefore.Add(m.lifetime).Unix(), IssuedAt: issued.Unix(), NotBefore: notBefore.Unix(),
		ID: rand.Text(), ClientID: a.Agent.ID.String(), Scope: strings.Join(a.Scopes, " "), OrganizationID: a.Agent.OrganizationID.String(),
		CredentialID: a.Credential.String(),
		Agent:        agentClaims{a.Agent.Name, m.dids.Agent(a.Agent.ID), a.Agent.Type, capabilities},
	}
}

// watermarkAheadMax is how far an agent's watermark can be in the future: it is the whole second after a suspension.
const watermarkAheadMax = time.Second

// issuedAt is this second, or the agent's watermark when that is the next one: an agent reactivated in the second of its suspension would else get
// a token that is already dead. A watermark further ahead is a clock gone wrong and is left to kill the token.
func issuedAt(now, watermark time.Time) time.Time {
	if ahead := watermark.Sub(now); ahead > 0 && ahead <= watermarkAheadMax {
		return watermark
	}
	return now
}
