// Package keys holds the issuer's signing keys: sealed at rest, public halves published, one active per use.
package keys

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Use separates the keys: access tokens (ES256) and ID tokens (RS256, because OIDC discovery demands RS256 be offered).
type Use string

const (
	AccessToken Use = "access_token"
	IDToken     Use = "id_token"
)

// State of a key: pending (published, not signing) → active → retiring (published, not signing) → destroyed.
type State string

const (
	Pending   State = "pending"
	ActiveKey State = "active"
	Retiring  State = "retiring"
	Destroyed State = "destroyed"
)

// Stored is a key as the store keeps it; Sealed is the PKCS #8 form under envelope encryption.
type Stored struct {
	ID          string // kid: RFC 7638 thumbprint
	Use         Use
	Algorithm   jose.Algorithm
	State       State
	PublicJWK   json.RawMessage
	Sealed      []byte
	CreatedAt   time.Time
	ActivatedAt time.Time
}

// Sealer encrypts a secret for one place in the database, so that a ciphertext moved to another row or column does not open. internal/seal implements it.
type Sealer interface {
	Seal(ctx context.Context, place Place, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, place Place, ciphertext []byte) ([]byte, error)
}

// Place is the associated data of a sealed value.
type Place struct{ Table, Column, Organization, Row string }

// Store keeps keys.
type Store interface {
	SigningKeys(ctx context.Context) ([]Stored, error)
	// CreateSigningKey inserts the key and its audit row. Conflict when the use already has an active key and k is active: another instance won the race.
	CreateSigningKey(ctx context.Context, actor audit.Actor, k Stored) error
}

// Ring serves keys from memory.
type Ring struct{}

// Open loads the keys and creates the first active key of each use when there is none; safe when several instances start at once.
func Open(ctx context.Context, store Store, sealer Sealer, now func() time.Time) (*Ring, error) {
	panic("contract")
}

// Signer is the active key of a use.
func (r *Ring) Signer(use Use) (*jose.SigningKey, error) { panic("contract") }

// KeySet is the published JWKS document: every pending, active and retiring key.
func (r *Ring) KeySet() []byte { panic("contract") }
