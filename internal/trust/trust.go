// Package trust holds what a sidecar believes beyond keys: which agents, organizations, keys and tokens of an issuer are
// revoked. The issuer renders the document, the sidecar reads it; both use this package, so they cannot disagree.
package trust

// Agent says that tokens of one agent are dead: all of them, or those issued before a time (after a reactivation).
type Agent struct {
	ID           string `json:"id"`
	IssuedBefore int64  `json:"issuedBefore,omitempty"` // seconds; 0 means every token
}

// Organization, Key and Token are the other things that can be revoked.
type Organization struct {
	ID           string `json:"id"`
	IssuedBefore int64  `json:"issuedBefore,omitempty"`
}
type Key struct {
	ID string `json:"id"` // kid
}
type Token struct {
	ID        string `json:"id"` // jti
	ExpiresAt int64  `json:"expiresAt"`
}

// RevocationList is the document at the issuer's revocation list URL. Sequence never falls for one issuer: a list with a
// lower sequence than the one in force is refused.
type RevocationList struct {
	Issuer        string         `json:"issuer"`
	Sequence      int64          `json:"sequence"`
	IssuedAt      int64          `json:"issuedAt"`
	Agents        []Agent        `json:"agents"`
	Organizations []Organization `json:"organizations"`
	Keys          []Key          `json:"keys"`
	Tokens        []Token        `json:"tokens"`
}

// ParseRevocationList reads a list strictly: unknown members, duplicates, wrong types and trailing bytes are errors.
func ParseRevocationList(doc []byte) (*RevocationList, error) { panic("contract") }

// Revocations is the immutable, indexed form of a list.
type Revocations struct{ list *RevocationList }

// Index builds the set.
func Index(l *RevocationList) *Revocations { panic("contract") }

// Sequence of the list the set was built from.
func (r *Revocations) Sequence() int64 { panic("contract") }

// Check returns what revokes this token ("token", "agent", "organization", "key"), or "".
func (r *Revocations) Check(subject, organizationID, keyID, tokenID string, issuedAt int64) string {
	panic("contract")
}
