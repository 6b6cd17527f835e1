// Package keys holds the signing keys of the issuers (the instance's, and one for each organization): sealed at rest, public halves published, one active per
// issuer and use.
//
//	pending ───► active ───► retiring ───► destroyed
//	published    signs       published     the private half is erased
//	   └────────────┴────────────┴─revoked─────▲
//
// schedule.go says when a key may go on, and why then; Rotator takes the steps, each one transaction; Ring serves one issuer's keys from memory; Rings has all
// rings and keeps them current while other processes change the keys.
package keys

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Use separates the keys: access tokens (ES256 or EdDSA) and ID tokens (RS256, because OIDC discovery demands RS256 be offered).
type Use string

// The uses. Each has at most one active key in an issuer.
const (
	AccessToken Use = "access_token"
	IDToken     Use = "id_token"
)

// Uses is every use.
func Uses() []Use { return []Use{AccessToken, IDToken} }

// AccessTokenAlgorithms may be chosen for access tokens. RS256 is not among them: its signatures cost twenty times as much and fill the token.
func AccessTokenAlgorithms() []jose.Algorithm { return []jose.Algorithm{jose.ES256, jose.EdDSA} }

// State of a key in its life.
type State string

// The states of a key, in the order it goes through them.
const (
	Pending   State = "pending"
	ActiveKey State = "active"
	Retiring  State = "retiring"
	Destroyed State = "destroyed"
)

// Stored is a key as the store keeps it; Sealed is the PKCS #8 form under envelope encryption, empty once it is destroyed. Times of what has not happened are zero.
type Stored struct {
	ID          string // kid: RFC 7638 thumbprint
	Use         Use
	Algorithm   jose.Algorithm
	State       State
	PublicJWK   json.RawMessage
	Sealed      []byte
	CreatedAt   time.Time // and published: a key is published from the moment it is stored
	ActivatedAt time.Time
	WantedAt    time.Time // an operator asked for it to be activated before its time
	RetiredAt   time.Time
	RevokedAt   time.Time
	DestroyedAt time.Time
}

// Set is every key of one issuer that is not destroyed, oldest first, and those revoked in the last day.
type Set struct {
	Revision  int64          // grows with each change; 0: the issuer has no keys yet
	Algorithm jose.Algorithm // of access tokens, as an operator chose; "" for the configured one
	Keys      []Stored
}

// find returns the oldest key of a use in a state.
func (s Set) find(use Use, state State) (Stored, bool) {
	for _, k := range s.Keys {
		if k.Use == use && k.State == state {
			return k, true
		}
	}
	return Stored{}, false
}

// Change is one step: it happens as a whole, with its audit row, or not at all.
type Change struct {
	Action    audit.Action
	Target    string         // kid
	Revision  int64          // of the Set it was decided on
	Algorithm jose.Algorithm // of the issuer from now on
	Create    []Stored
	Moves     []Move
	DueAt     time.Time // when the schedule has to look at the issuer again
}

// Move takes a key from one state to another, or (Pending to Pending) notes that it is wanted.
type Move struct {
	ID       string
	From, To State
	Revoked  bool // with To Destroyed: what it signed is dead from now on
	At       time.Time
}

// apply returns the set as it is after a change.
func (s Set) apply(c Change) Set {
	next := Set{Revision: s.Revision, Algorithm: c.Algorithm}
	for _, k := range s.Keys {
		for _, m := range c.Moves {
			if m.ID == k.ID {
				k = m.Apply(k)
			}
		}
		next.Keys = append(next.Keys, k)
	}
	next.Keys = append(next.Keys, c.Create...)
	return next
}

// Apply returns the key as it is after the move.
func (m Move) Apply(k Stored) Stored {
	k.State = m.To
	switch m.To {
	case Pending:
		k.WantedAt = m.At
	case ActiveKey:
		k.ActivatedAt = m.At
	case Retiring:
		k.RetiredAt = m.At
	case Destroyed:
		k.DestroyedAt, k.Sealed = m.At, nil
		if m.Revoked {
			k.RevokedAt = m.At
		}
	}
	return k
}

// Place is the associated data of a sealed value.
type Place = seal.Place

// Sealer encrypts a secret for one place in the database, so that a ciphertext moved to another row or column does not open. internal/seal implements it.
type Sealer interface {
	Seal(ctx context.Context, place Place, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, place Place, ciphertext []byte) ([]byte, error)
}

var _ Sealer = (*seal.Sealer)(nil)

// Revision is which state of its keys an issuer is in.
type Revision struct {
	Organization agentid.Organization
	Number       int64
}

// Store keeps keys by issuer; the zero organization is the instance.
type Store interface {
	SigningKeys(ctx context.Context, org agentid.Organization) (Set, error)
	// ChangeSigningKeys does all of a change and writes its audit row, or nothing. Conflict when the issuer's revision is not c.Revision any more: another process was faster.
	ChangeSigningKeys(ctx context.Context, actor audit.Actor, org agentid.Organization, c Change) error
	// PostponeSigningKeys notes when the schedule has to look again, unless the keys have changed since.
	PostponeSigningKeys(ctx context.Context, org agentid.Organization, revision int64, due time.Time) error
	// ChangedSigningKeys returns the newest revision there is, and every issuer whose revision is above since.
	ChangedSigningKeys(ctx context.Context, since int64) (newest int64, changed []Revision, err error)
	// DueSigningKeys returns issuers whose time has come, in the order of their organizations, those behind after.
	DueSigningKeys(ctx context.Context, at time.Time, after agentid.Organization, limit int) ([]agentid.Organization, error)
	// LeadSigningSchedule makes the process the leader until a time, unless another one is.
	LeadSigningSchedule(ctx context.Context, process string, now, until time.Time) (bool, error)
}
