// Package keys holds the issuer's signing keys: sealed at rest, public halves published, one active per use.
package keys

import (
	"context"
	"encoding/json"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Use separates the keys: access tokens (ES256) and ID tokens (RS256, because OIDC discovery demands RS256 be offered).
type Use string

// The uses. Each has at most one active key in the instance.
const (
	AccessToken Use = "access_token"
	IDToken     Use = "id_token"
)

// algorithms says what a new key of a use is.
var algorithms = []struct {
	use       Use
	algorithm jose.Algorithm
}{
	{AccessToken, jose.ES256},
	{IDToken, jose.RS256}, // OpenID Connect Discovery 1.0 s3: id_token_signing_alg_values_supported must include RS256
}

// State of a key: pending (published, not signing) → active → retiring (published, not signing) → destroyed.
type State string

// The states of a key, in the order it goes through them.
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
	ActivatedAt time.Time // zero while pending
}

// Place is the associated data of a sealed value.
type Place = seal.Place

// Sealer encrypts a secret for one place in the database, so that a ciphertext moved to another row or column does not open. internal/seal implements it.
type Sealer interface {
	Seal(ctx context.Context, place Place, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, place Place, ciphertext []byte) ([]byte, error)
}

var _ Sealer = (*seal.Sealer)(nil)

// Store keeps keys. They belong to the instance, not to an organization.
type Store interface {
	// SigningKeys returns every key that is not destroyed, oldest first.
	SigningKeys(ctx context.Context) ([]Stored, error)
	// CreateSigningKey inserts the key and its audit row. Conflict when the use already has an active key and k is active: another instance won the race.
	CreateSigningKey(ctx context.Context, actor audit.Actor, k Stored) error
}
