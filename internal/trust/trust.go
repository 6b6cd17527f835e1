// Package trust holds what a sidecar believes beyond keys: which agents, organizations, credentials, keys, tokens, issuers and
// partners are revoked. The issuer renders the document, the sidecar reads it; both use this package, so they cannot disagree.
// ADR 0020 says how the document may grow.
package trust

import "encoding/json"

// Agent says that tokens of one agent are dead: all of them, or those issued before a time (after a reactivation).
type Agent struct {
	ID           string `json:"id"`
	IssuedBefore int64  `json:"issuedBefore,omitempty"` // seconds; 0 means every token
}

// Organization says the same of every agent of one organization.
type Organization struct {
	ID           string `json:"id"`
	IssuedBefore int64  `json:"issuedBefore,omitempty"` // seconds; 0 means every token
}

// Credential says that every token got with one credential is dead. The entry may be dropped once such tokens would have
// expired anyway: a credential does not come back.
type Credential struct {
	ID string `json:"id"`
}

// Key is a signing key nothing is accepted from any more, whatever a key set says.
type Key struct {
	ID string `json:"id"` // kid
}

// Token is one revoked token. The entry may be dropped from the list once the token would have expired anyway.
type Token struct {
	ID        string `json:"id"`        // jti
	ExpiresAt int64  `json:"expiresAt"` // seconds
}

// Issuer says that tokens of a whole issuer are dead, and so are tokens of others in which one of its agents acts. A list
// speaks about its own issuer and about issuers of its partners; who reads it must not let it speak about any other.
//
// A watermark trusts iat. Where a signing key was stolen, iat is the thief's to choose: revoke the key too.
type Issuer struct {
	ID           string `json:"id"`                     // iss
	IssuedBefore int64  `json:"issuedBefore,omitempty"` // seconds; 0 means every token
}

// Partner says the same of every issuer of one partner, by the id the list's issuer gave the partner.
type Partner struct {
	ID           string `json:"id"`
	IssuedBefore int64  `json:"issuedBefore,omitempty"` // seconds; 0 means every token
}

// RevocationList is the document at the issuer's revocation list URL. Sequence never falls for one issuer: a list with a
// lower sequence than the one in force is refused by whoever holds the one in force.
type RevocationList struct {
	Issuer        string         `json:"issuer"`
	Sequence      int64          `json:"sequence"`
	IssuedAt      int64          `json:"issuedAt"`
	Agents        []Agent        `json:"agents"`
	Organizations []Organization `json:"organizations"`
	Credentials   []Credential   `json:"credentials"`
	Keys          []Key          `json:"keys"`
	Tokens        []Token        `json:"tokens"`
	Issuers       []Issuer       `json:"issuers"`
	Partners      []Partner      `json:"partners"`

	// NotUnderstood names, in order, the kinds of revocation in the document that this version cannot apply. Nothing that the
	// list does not revoke may be taken for alive because of it.
	NotUnderstood []string `json:"-"`
}

// MarshalJSON writes empty lists as [], never null, so that what is rendered here can always be parsed here.
func (l RevocationList) MarshalJSON() ([]byte, error) {
	type plain RevocationList // without this method
	p := plain(l)
	p.Agents = orEmpty(p.Agents)
	p.Organizations = orEmpty(p.Organizations)
	p.Credentials = orEmpty(p.Credentials)
	p.Keys = orEmpty(p.Keys)
	p.Tokens = orEmpty(p.Tokens)
	p.Issuers = orEmpty(p.Issuers)
	p.Partners = orEmpty(p.Partners)
	return json.Marshal(p)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
