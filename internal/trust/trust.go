// Package trust holds what a sidecar believes beyond keys: which agents, organizations, keys and tokens of an issuer are
// revoked. The issuer renders the document, the sidecar reads it; both use this package, so they cannot disagree.
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

// Key is a signing key nothing is accepted from any more, whatever a key set says.
type Key struct {
	ID string `json:"id"` // kid
}

// Token is one revoked token. The entry may be dropped from the list once the token would have expired anyway.
type Token struct {
	ID        string `json:"id"`        // jti
	ExpiresAt int64  `json:"expiresAt"` // seconds
}

// RevocationList is the document at the issuer's revocation list URL. Sequence never falls for one issuer: a list with a
// lower sequence than the one in force is refused by whoever holds the one in force.
type RevocationList struct {
	Issuer        string         `json:"issuer"`
	Sequence      int64          `json:"sequence"`
	IssuedAt      int64          `json:"issuedAt"`
	Agents        []Agent        `json:"agents"`
	Organizations []Organization `json:"organizations"`
	Keys          []Key          `json:"keys"`
	Tokens        []Token        `json:"tokens"`
}

// MarshalJSON writes empty lists as [], never null, so that what is rendered here can always be parsed here.
func (l RevocationList) MarshalJSON() ([]byte, error) {
	type plain RevocationList // without this method
	p := plain(l)
	p.Agents = orEmpty(p.Agents)
	p.Organizations = orEmpty(p.Organizations)
	p.Keys = orEmpty(p.Keys)
	p.Tokens = orEmpty(p.Tokens)
	return json.Marshal(p)
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
