// Package tokens turns an authorization into a signed token: RFC 9068 access tokens, and nothing a stranger could have put into them.
package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// Lifetimes of access tokens. A token cannot be called back from a verifier that is not one of our sidecars, so it must not live long.
const (
	LifetimeDefault = 5 * time.Minute
	LifetimeMin     = 30 * time.Second // shorter ones expire on the way
	LifetimeMax     = 15 * time.Minute
)

// ErrExpired is an authorization that ends before a token of it would begin.
var ErrExpired = errors.New("what the token is made from has expired")

// TypeAccessToken is the typ header of access tokens, RFC 9068 s2.1.
const TypeAccessToken = "at+jwt"

// ActorsMax is how many links the act chain of a token may have: sidecars refuse more.
const ActorsMax = 8

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

// Mint signs a token for an authorization.
func (m *Minter) Mint(a Authorization) (AccessToken, error) {
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
	issued, err := issuedAt(notBefore, a.notBefore())
	if err != nil {
		return AccessToken{}, err
	}
	claims := m.claims(a, notBefore, issued)
	if claims.ExpiresAt <= claims.IssuedAt {
		return AccessToken{}, ErrExpired
	}
	typ, encode := TypeAccessToken, claims.encode
	if a.Assertion != nil {
		typ, encode = typeIDJAG, func() ([]byte, error) { return json.Marshal(a.Assertion.claims(claims)) }
	}
	payload, err := encode()
	if err != nil {
		return AccessToken{}, fmt.Errorf("encode claims: %w", err)
	}
	text, err := key.Sign(typ, payload)
	if err != nil {
		return AccessToken{}, fmt.Errorf("sign: %w", err)
	}
	expires := time.Unix(claims.ExpiresAt, 0).UTC()
	return AccessToken{
		Text: text, ID: claims.ID, KeyID: key.ID(), Scope: claims.Scope,
		IssuedAt: issued.UTC(), ExpiresAt: expires, ExpiresIn: expires.Sub(now).Truncate(time.Second),
	}, nil
}

// aheadMax is how far iat can be in the future: a watermark is the whole second after a revocation, and verifiers allow a second.
const aheadMax = time.Second

// NotYetError is a token that would be dead when it arrives: a second revocation within a second (package agents), or a clock gone wrong.
type NotYetError struct{ Wait time.Duration }

func (e *NotYetError) Error() string { return "what is issued now is revoked already" }

// issuedAt is this second, or the one before which everything is dead when that is the next: whoever asks in the second of a revocation would else get a token that
// is already dead.
func issuedAt(now, notBefore time.Time) (time.Time, error) {
	switch ahead := notBefore.Sub(now); {
	case ahead <= 0:
		return now, nil
	case ahead <= aheadMax:
		return notBefore, nil
	default:
		return time.Time{}, &NotYetError{ahead - aheadMax}
	}
}
