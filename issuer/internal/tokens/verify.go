package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// Verified is one of an issuer's own access tokens: its signature is good and it has not expired. Whether its agent is still active and its credential still
// there is the store's to say, and whether the one who presents it holds what it is bound to, the endpoint's.
type Verified struct {
	ID             string // jti
	Subject        string
	ClientID       string
	OrganizationID agentid.Organization
	Credential     agentid.Credential // zero when it names none
	Audience       []string
	Scopes         []string
	Confirmation   Confirmation
	Delegated      bool // it has an act: somebody acts for the subject
	IssuedAt       time.Time
	ExpiresAt      time.Time
}

// Own reports whether the token is the subject's own: nobody else got it, and nobody acts for it.
func (v *Verified) Own() bool { return v.ClientID == v.Subject && !v.Delegated }

// boundMembers is the confirmation a token of ours may have. Any other is a binding we would not check.
var boundMembers = []string{"jkt", "x5t#S256"}

// Verify reads an access token of the issuer for an audience, with the issuer's own keys.
func Verify(issuer issuers.Issuer, text, audience string, now time.Time) (*Verified, error) {
	if issuer.Keys == nil {
		return nil, errors.New("no issuer: nothing verifies")
	}
	token, err := jose.ParseToken(text)
	if err != nil {
		return nil, err
	}
	key, _ := issuer.Keys.KeySet().Keys.Lookup(token.KeyID()) // nil is refused by Verify
	claims, err := token.Verify(key, &jose.Rules{
		Issuer: issuer.ID, Audiences: []string{audience}, Types: []string{typeAccessToken}, Algorithms: []jose.Algorithm{jose.ES256, jose.EdDSA},
		LifetimeMax: LifetimeMax,
	}, now)
	if err != nil {
		return nil, err
	}
	return read(claims)
}

func read(claims *jose.Claims) (*Verified, error) {
	v := &Verified{
		ID: claims.ID, Subject: claims.Subject, Audience: claims.Audience,
		IssuedAt: time.Unix(claims.IssuedAt, 0).UTC(), ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC(),
	}
	texts := map[string]string{}
	for _, name := range []string{"client_id", "scope", "org_id", "credential_id"} {
		switch s := claims.Extra[name].(type) {
		case nil:
		case string:
			texts[name] = s
		default:
			return nil, fmt.Errorf("claim %s is no string", name)
		}
	}
	v.ClientID, v.Scopes = texts["client_id"], strings.Fields(texts["scope"])
	var err error
	if v.OrganizationID, err = agentid.Parse[agentid.Organization](texts["org_id"]); err != nil {
		return nil, fmt.Errorf("claim org_id: %w", err)
	}
	if id := texts["credential_id"]; id != "" {
		if v.Credential, err = agentid.Parse[agentid.Credential](id); err != nil {
			return nil, fmt.Errorf("claim credential_id: %w", err)
		}
	}
	_, v.Delegated = claims.Extra["act"]
	v.Confirmation, err = readConfirmation(claims.Extra["cnf"])
	return v, err
}

// readConfirmation refuses what it does not know: a binding that nobody checks would be none.
func readConfirmation(cnf any) (Confirmation, error) {
	if cnf == nil {
		return Confirmation{}, nil
	}
	members, ok := cnf.(map[string]any)
	if !ok || len(members) == 0 {
		return Confirmation{}, errors.New("claim cnf is no object, or empty")
	}
	for name := range members {
		if !slices.Contains(boundMembers, name) {
			return Confirmation{}, errors.New("claim cnf binds to something unknown")
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		return Confirmation{}, err
	}
	var c Confirmation
	if err := json.Unmarshal(text, &c); err != nil {
		return Confirmation{}, errors.New("claim cnf is malformed")
	}
	return c, nil
}
