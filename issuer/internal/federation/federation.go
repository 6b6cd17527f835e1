// Package federation knows whose assertions are believed here, and to whom assertions of ours are given. A partner is one of one organization: what it says counts
// for the agents of that organization alone.
package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
)

// clockDifference is how far a partner's clock may be ahead of ours. The end of a token is not moved by it.
const clockDifference = 5 * time.Second

// ErrRefused is everything that is wrong with what a partner said, or somebody in its name. The cause is in the error's text, for operators.
var ErrRefused = errors.New("not acceptable of a partner")

// Partner is another issuer, as one organization knows it.
type Partner struct {
	Issuer       string // exactly its iss
	Organization agentid.Organization
	KeySetURL    string    // where its keys are; "" for one that is only given assertions
	Keys         KeySource // fetches them
	Scopes       []string  // the most a token may have that is made from what it says
	// Clients are the names our clients have there, by their client_id here: what client_id of an assertion for it is.
	Clients map[string]string
}

// KeySource fetches key sets and remembers them. clientkeys.Source implements it.
type KeySource interface {
	Keys(ctx context.Context, url, kid string) (*jose.KeySet, error)
}

// Partners are those of every organization. It is safe for concurrent use.
type Partners struct {
	known map[name]Partner
	now   func() time.Time
}

type name struct {
	organization agentid.Organization
	issuer       string
}

// New refuses a partner that is listed twice for an organization.
func New(partners []Partner, now func() time.Time) (*Partners, error) {
	p := &Partners{known: make(map[name]Partner, len(partners)), now: now}
	for _, partner := range partners {
		n := name{partner.Organization, partner.Issuer}
		if _, twice := p.known[n]; twice || partner.Issuer == "" || partner.Organization.IsZero() || partner.KeySetURL != "" && partner.Keys == nil {
			return nil, fmt.Errorf("partner %q: given twice, or not complete", partner.Issuer)
		}
		p.known[n] = partner
	}
	return p, nil
}

// Find returns the partner of an organization.
func (p *Partners) Find(org agentid.Organization, issuer string) (Partner, bool) {
	partner, ok := p.known[name{org, issuer}]
	return partner, ok
}

// Expected says what a token must be.
type Expected struct {
	Audience    string   // its one aud: who is addressed besides us could redeem it too
	Types       []string // as jose.Rules
	LifetimeMax time.Duration
}

// Verify returns what a partner of the organization said, and who it is. What is wrong with it wraps ErrRefused; when the partner's keys cannot be had the error is
// of kind Unavailable.
func (p *Partners) Verify(ctx context.Context, org agentid.Organization, text string, want Expected) (*jose.Claims, Partner, error) {
	token, err := jose.ParseToken(text)
	if err != nil {
		return nil, Partner{}, refused(err)
	}
	partner, ok := p.Find(org, token.Issuer())
	if !ok || partner.KeySetURL == "" {
		return nil, Partner{}, refused(errors.New("the issuer is not a partner that is believed"))
	}
	set, err := partner.Keys.Keys(ctx, partner.KeySetURL, token.KeyID())
	if err != nil {
		return nil, Partner{}, &problem.Error{Kind: problem.Unavailable, Code: "partner_unavailable", Detail: "the partner's keys cannot be fetched", RetryAfter: time.Second, Err: err}
	}
	key, _ := set.Lookup(token.KeyID()) // nil is refused by Verify
	claims, err := token.Verify(key, &jose.Rules{
		Issuer: partner.Issuer, Audiences: []string{want.Audience}, Types: want.Types, LifetimeMax: want.LifetimeMax, Skew: clockDifference,
		Algorithms: []jose.Algorithm{jose.ES256, jose.EdDSA, jose.PS256, jose.RS256},
	}, p.now())
	switch {
	case err != nil:
		return nil, Partner{}, refused(err)
	case len(claims.Audience) != 1:
		return nil, Partner{}, refused(errors.New("several audiences"))
	case p.now().Unix() >= claims.ExpiresAt:
		return nil, Partner{}, refused(errors.New("expired"))
	}
	return claims, partner, nil
}

func refused(err error) error { return fmt.Errorf("%w: %w", ErrRefused, err) }
