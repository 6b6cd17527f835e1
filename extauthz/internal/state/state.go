// Package state holds what the sidecar knows: one immutable Snapshot behind one atomic pointer. Feeds write it, requests
// read it once and decide on what they read.
package state

import (
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/trust"
)

// Issuer is one trusted issuer: its rules, its keys, what it has revoked.
type Issuer struct {
	Rules            jose.Rules
	OrganizationID   string             // when set, tokens that name another organization are refused
	Keys             *jose.KeySet       // nil until the first load
	KeysUntil        time.Time          // keys are not used after this; zero means they do not age (static file)
	Revocations      *trust.Revocations // nil until the first load, when HasRevocations
	RevocationsUntil time.Time          // as KeysUntil
	HasRevocations   bool               // a revocation list is configured: without one loaded nothing is accepted
}

// Snapshot is never changed after it was published.
type Snapshot struct {
	Epoch   uint64             // grows with every published change
	Issuers map[string]*Issuer // by exact iss
	Policy  *policy.Policy     // nil until the first load
}

// Store publishes snapshots.
type Store struct{}

func NewStore(initial *Snapshot) *Store { panic("contract") }

// Load returns the current snapshot; never nil.
func (s *Store) Load() *Snapshot { panic("contract") }

// Update publishes change(copy of the current snapshot) with the next epoch; changes are serialised. The copy's Issuers
// map is fresh, its *Issuer values are shared: replace them, never write through them.
func (s *Store) Update(change func(*Snapshot)) { panic("contract") }

// Ready reports nil once policy, every issuer's keys and every configured revocation list were loaded at least once,
// else what is missing.
func (s *Store) Ready() error { panic("contract") }
