// Package tokenstate says what an access token of ours is worth at this moment: verified as strictly as a sidecar does it, against the keys of the issuer that
// is asked, and then compared with everything that may have been revoked since. Introspection, revocation and whatever else is handed a token of ours ask here.
package tokenstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// ErrInactive is every token that is worth nothing here, whatever the reason. The reason is in the error's text, for operators; who sent the token is not told.
var ErrInactive = errors.New("the token is not active")

// Holder is an agent of ours whom a token dies with.
type Holder struct {
	Agent      agentid.Agent
	Credential agentid.Credential // zero when the token names none
}

// Facts are what the database is asked about a token.
type Facts struct {
	TokenID  string
	IssuedAt time.Time
	Holders  []Holder       // none is in another organization
	SignIn   agentid.SignIn // zero when the token is of none
}

// Store knows what is true now.
type Store interface {
	// TokenLives reports whether every holder is there and active, no watermark is later than the token, every credential named is there, nobody revoked
	// the token, and the sign-in it names has not ended. An agent of another organization is not there.
	TokenLives(ctx context.Context, org agentid.Organization, f Facts) (bool, error)
}

// Revocations is what sidecars are told. revocation.List implements it.
type Revocations interface {
	// Revoked returns what revokes a token with these facts, "" for nothing.
	Revoked(ctx context.Context, facts ...trust.Facts) (string, error)
}

// Token is an access token of ours, verified.
type Token struct {
	Claims       *jose.Claims
	Organization agentid.Organization
	ClientID     string // an agent's id, or a relying party's
	Holders      []Holder
	SignIn       agentid.SignIn // of a relying party, which had the token or one that it was made from; zero for none

	links []trust.Facts // of the token and of each actor
}

// Judge judges tokens. It is safe for concurrent use.
type Judge struct {
	store Store
	list  Revocations
	now   func() time.Time
}

// New returns a Judge.
func New(store Store, list Revocations, now func() time.Time) *Judge {
	return &Judge{store: store, list: list, now: now}
}

// Verify says whose token it is, with the issuer's own keys and without a question to anybody. Every error wraps ErrInactive.
func (j *Judge) Verify(issuer issuers.Issuer, text string) (*Token, error) {
	parsed, err := jose.ParseToken(text)
	if err != nil {
		return nil, inactive(err)
	}
	if parsed.Issuer() != issuer.ID || issuer.ID == "" {
		return nil, inactive(errors.New("another issuer's"))
	}
	key, ok := issuer.Keys.KeySet().Keys.Lookup(parsed.KeyID())
	if !ok {
		return nil, inactive(errors.New("of a key we do not have"))
	}
	claims, err := parsed.Verify(key, &jose.Rules{
		Issuer: issuer.ID, AnyAudience: true, Types: []string{tokens.TypeAccessToken}, Algorithms: []jose.Algorithm{jose.ES256, jose.EdDSA},
		LifetimeMax: tokens.LifetimeMax,
		Skew:        time.Second, // of iat alone: a token may be dated to the next second (tokens.Minter). exp is compared below, without it.
	}, j.now())
	if err != nil {
		return nil, inactive(err)
	}
	if j.now().Unix() >= claims.ExpiresAt {
		return nil, inactive(errors.New("expired"))
	}
	return read(issuer, claims)
}

// IssuerOf is what a text says of its issuer, unverified; "" for what is no token.
func IssuerOf(text string) string {
	parsed, err := jose.ParseToken(text)
	if err != nil {
		return ""
	}
	return parsed.Issuer()
}

// Check is Verify, and then whether the token has been revoked in any of the ways there are.
func (j *Judge) Check(ctx context.Context, issuer issuers.Issuer, text string) (*Token, error) {
	t, err := j.Verify(issuer, text)
	if err != nil {
		return nil, err
	}
	return t, j.Alive(ctx, t)
}

// Alive reports, for a verified token, nil or why it is worth nothing any more. The database is asked what is so now, the list what sidecars do with the
// token: it holds what the database no longer has rows for.
func (j *Judge) Alive(ctx context.Context, t *Token) error {
	lives, err := j.store.TokenLives(ctx, t.Organization, Facts{TokenID: t.Claims.ID, IssuedAt: time.Unix(t.Claims.IssuedAt, 0).UTC(), Holders: t.Holders, SignIn: t.SignIn})
	if err != nil {
		return err
	}
	if !lives {
		return inactive(errors.New("revoked"))
	}
	what, err := j.list.Revoked(ctx, t.links...)
	if err != nil {
		return err
	}
	if what != "" {
		return inactive(errors.New("revoked: " + what))
	}
	return nil
}

// read finds everybody the token dies with: subject and actors (RFC 8693 s4.1), as sidecars do.
func read(issuer issuers.Issuer, c *jose.Claims) (*Token, error) {
	org, err := agentid.Parse[agentid.Organization](text(c.Extra, "org_id"))
	if err != nil || !issuer.Admits(org) {
		return nil, inactive(errors.New("of no organization of this issuer"))
	}
	t := &Token{Claims: c, Organization: org, ClientID: text(c.Extra, "client_id")}
	if sid, present := c.Extra["sid"]; present {
		name, _ := sid.(string)
		if t.SignIn, err = agentid.Parse[agentid.SignIn](name); err != nil {
			return nil, inactive(errors.New("of a sign-in that is none"))
		}
	}
	t.add(link{subject: c.Subject, credential: text(c.Extra, "credential_id"), organization: org.String(), issuer: c.Issuer})
	t.links[0].TokenID, t.links[0].KeyID = c.ID, c.KeyID
	act, present := c.Extra["act"]
	for n := 0; present; n++ {
		members, ok := act.(map[string]any)
		if !ok || n >= tokens.ActorsMax {
			return nil, inactive(errors.New("an act chain that cannot be followed"))
		}
		l := link{text(members, "sub"), text(members, "credential_id"), text(members, "org_id"), text(members, "iss")}
		if l.issuer == "" {
			l.issuer = c.Issuer
		}
		t.add(l)
		act, present = members["act"]
	}
	return t, nil
}

// link is the subject, or an actor of the act chain.
type link struct{ subject, credential, organization, issuer string }

// add asks the list about every link, and the database about those that are agents of the token's own organization.
func (t *Token) add(l link) {
	t.links = append(t.links, trust.Facts{
		Agent: l.subject, OrganizationID: l.organization, CredentialID: l.credential, Issuer: l.issuer, IssuedAt: t.Claims.IssuedAt,
	})
	agent, err := agentid.Parse[agentid.Agent](l.subject)
	if err != nil || l.issuer != t.Claims.Issuer || l.organization != "" && l.organization != t.Organization.String() {
		return
	}
	credential, err := agentid.Parse[agentid.Credential](l.credential)
	if err != nil {
		credential = agentid.Credential{}
	}
	t.Holders = append(t.Holders, Holder{agent, credential})
}

// Carrier is the agent whose watermark kills the token too: the client where it is one that the token dies with, else the first holder. It is zero for a
// token without holders, which no watermark of an agent reaches.
func (t *Token) Carrier() agentid.Agent {
	for _, h := range t.Holders {
		if h.Agent.String() == t.ClientID {
			return h.Agent
		}
	}
	if len(t.Holders) == 0 {
		return agentid.Agent{}
	}
	return t.Holders[0].Agent
}

// Scope of the token, as it was written.
func (t *Token) Scope() string { return text(t.Claims.Extra, "scope") }

func text(members map[string]any, name string) string {
	s, _ := members[name].(string)
	return strings.Clone(s)
}

func inactive(why error) error { return fmt.Errorf("%w: %w", ErrInactive, why) }
