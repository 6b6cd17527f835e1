package tokens

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// typeIDToken is the typ header. OpenID Connect asks for none; with it an ID token can never pass where at+jwt is demanded (RFC 8725 s3.11).
const typeIDToken = "JWT"

// IDTokenLifetime is how long an ID token may be shown to the relying party it is for. It is no credential for anybody else.
const IDTokenLifetime = 10 * time.Minute

// Authentication is how and when an agent proved itself.
type Authentication struct {
	At      time.Time
	Context string   // acr
	Methods []string // amr
}

// SignedIn is what an ID token says.
type SignedIn struct {
	Issuer         issuers.Issuer
	Agent          agents.Agent
	Client         string // client_id
	SignIn         agentid.SignIn
	Authentication Authentication
	Nonce          string // "" when the client sent none
	AccessToken    string // that is issued together with it
}

// idClaims is OpenID Connect Core s2. azp is left out: the audience is one, and is the client it was issued to.
type idClaims struct {
	Issuer         string       `json:"iss"`
	Subject        string       `json:"sub"`
	Audience       string       `json:"aud"`
	ExpiresAt      int64        `json:"exp"`
	IssuedAt       int64        `json:"iat"`
	ID             string       `json:"jti"` // so that it can be read back as a hint
	AuthTime       int64        `json:"auth_time"`
	Nonce          string       `json:"nonce,omitempty"`
	Context        string       `json:"acr"`
	Methods        []string     `json:"amr"`
	TokenHash      string       `json:"at_hash"`
	OrganizationID string       `json:"org_id"`
	SignIn         string       `json:"sid"` // one agent at one client, as a refresh token continues it: what the token can be known dead by
	Agent          *agentClaims `json:"agent"`
}

// IDToken signs an ID token with the key kept for them.
func (m *Minter) IDToken(s SignedIn) (string, error) {
	if !s.Issuer.Admits(s.Agent.OrganizationID) {
		return "", errors.New("the agent is no client of this issuer")
	}
	key, err := s.Issuer.Keys.Signer(keys.IDToken)
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	hash, err := accessTokenHash(key.Algorithm(), s.AccessToken)
	if err != nil {
		return "", err
	}
	now := m.now().Truncate(time.Second)
	payload, err := json.Marshal(idClaims{
		Issuer: s.Issuer.ID, Subject: s.Agent.ID.String(), Audience: s.Client, ExpiresAt: now.Add(IDTokenLifetime).Unix(), IssuedAt: now.Unix(),
		ID: rand.Text(), AuthTime: s.Authentication.At.Unix(), Nonce: s.Nonce, Context: s.Authentication.Context, Methods: s.Authentication.Methods,
		TokenHash: hash, OrganizationID: s.Agent.OrganizationID.String(), SignIn: s.SignIn.String(), Agent: m.describe(&s.Agent),
	})
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	text, err := key.Sign(typeIDToken, payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text, nil
}

// accessTokenHash is OpenID Connect Core s3.1.3.6: the left half of the hash that belongs to the algorithm.
func accessTokenHash(alg jose.Algorithm, token string) (string, error) {
	if alg != jose.RS256 && alg != jose.PS256 && alg != jose.ES256 {
		return "", fmt.Errorf("no hash is known to belong to %s", string(alg))
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:sha256.Size/2]), nil
}

// hintAgeMax is how long an ID token may serve as a hint: longer than any client keeps one.
const hintAgeMax = 10 * 365 * 24 * time.Hour

// ReadHint is the subject of an ID token that was issued to a client, expired or not. It proves nothing about who sends it.
func ReadHint(issuer issuers.Issuer, text, clientID string, now time.Time) (string, error) {
	claims, err := verifyIDToken(issuer, text, clientID, hintAgeMax, now)
	if err != nil {
		return "", err
	}
	return claims.Subject, nil
}

// Presented is an ID token that its client shows to its issuer.
type Presented struct {
	Subject   agentid.Agent
	SignIn    agentid.SignIn
	ExpiresAt time.Time
}

// ReadIDToken is an ID token that was issued to a client and has not expired. Whether the sign-in lives is for the caller to find out.
func ReadIDToken(issuer issuers.Issuer, text, clientID string, now time.Time) (Presented, error) {
	claims, err := verifyIDToken(issuer, text, clientID, 0, now)
	if err != nil {
		return Presented{}, err
	}
	p := Presented{ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC()}
	if !now.Before(p.ExpiresAt) {
		return Presented{}, errors.New("expired")
	}
	if p.Subject, err = agentid.Parse[agentid.Agent](claims.Subject); err != nil {
		return Presented{}, fmt.Errorf("sub: %w", err)
	}
	sid, _ := claims.Extra["sid"].(string)
	if p.SignIn, err = agentid.Parse[agentid.SignIn](sid); err != nil {
		return Presented{}, fmt.Errorf("sid: %w", err)
	}
	return p, nil
}

// verifyIDToken is for tokens of the issuer's own keys, those it has retired and still publishes included.
func verifyIDToken(issuer issuers.Issuer, text, clientID string, skew time.Duration, now time.Time) (*jose.Claims, error) {
	if issuer.Keys == nil {
		return nil, errors.New("no issuer: nothing verifies")
	}
	token, err := jose.ParseToken(text)
	if err != nil {
		return nil, err
	}
	key, _ := issuer.Keys.KeySet().Keys.Lookup(token.KeyID()) // nil is refused by Verify
	return token.Verify(key, &jose.Rules{
		Issuer: issuer.ID, Audiences: []string{clientID}, Types: []string{"jwt"}, Algorithms: []jose.Algorithm{jose.RS256},
		LifetimeMax: IDTokenLifetime, Skew: skew,
	}, now)
}
