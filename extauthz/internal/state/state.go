// Package state holds what the sidecar knows: one immutable Snapshot behind one atomic pointer. Feeds write it, requests
// read it once and decide on what they read.
package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	RequireBound     bool               // only tokens that are bound to something (cnf) are accepted
	RequireBoundOf   []string           // the same, for these organizations
	TokensNotBefore  int64              // tokens issued before this second are refused, whatever a list says; 0 means none
	PartnerID        string             // when set, the issuer is this partner's, and its identities are federated
	PartnerOf        string             // then: the issuer whose revocation list speaks about the partner

	// Epoch is that of the snapshot in which rules, keys or revocations last changed, its own or those of the issuer it is a
	// partner of: what was concluded for a caller of this issuer counts as long as it stays. Update sets it.
	Epoch uint64
}

// sameMaterial reports whether i says what old said; how long it may be used does not count.
func (i *Issuer) sameMaterial(old *Issuer) bool {
	return i.Keys == old.Keys && i.Revocations == old.Revocations && i.HasRevocations == old.HasRevocations && i.RequireBound == old.RequireBound &&
		slices.Equal(i.RequireBoundOf, old.RequireBoundOf) && i.TokensNotBefore == old.TokensNotBefore && i.PartnerID == old.PartnerID && i.PartnerOf == old.PartnerOf &&
		i.OrganizationID == old.OrganizationID && i.Rules.Equal(&old.Rules)
}

// Snapshot is never changed after it was published.
type Snapshot struct {
	Epoch   uint64             // grows with every published change
	Issuers map[string]*Issuer // by exact iss
	Policy  *policy.Policy     // nil until the first load
}

// Store publishes snapshots. Any number of readers and writers may use it at once; readers never wait.
type Store struct {
	current atomic.Pointer[Snapshot]
	writing sync.Mutex // held while a change is computed, so that no change is lost
}

// NewStore starts with the given snapshot; nil means one that trusts nobody and has no policy.
func NewStore(initial *Snapshot) *Store {
	if initial == nil {
		initial = &Snapshot{}
	}
	s := &Store{}
	s.current.Store(initial)
	return s
}

// Load returns the current snapshot; never nil. Read it once per request: two reads may see two different worlds.
func (s *Store) Load() *Snapshot { return s.current.Load() }

// Update publishes change(copy of the current snapshot) with the next epoch; changes are serialised. The copy's Issuers
// map is fresh, its *Issuer values are shared: replace them with new ones, never write through them. When change panics nothing is
// published.
func (s *Store) Update(change func(*Snapshot)) {
	s.writing.Lock()
	defer s.writing.Unlock()
	old := s.current.Load()
	next := &Snapshot{Policy: old.Policy, Issuers: maps.Clone(old.Issuers)}
	if next.Issuers == nil {
		next.Issuers = make(map[string]*Issuer)
	}
	change(next)
	next.Epoch = old.Epoch + 1
	for name, issuer := range next.Issuers {
		before := old.Issuers[name]
		if issuer == nil || issuer == before {
			continue
		}
		changed := *issuer
		if changed.Epoch = next.Epoch; before != nil && changed.sameMaterial(before) {
			changed.Epoch = before.Epoch
		}
		next.Issuers[name] = &changed
	}
	next.followPartners()
	s.current.Store(next)
}

// followPartners ends what was concluded for callers of partners when the list that speaks about them changed.
func (s *Snapshot) followPartners() {
	for name, issuer := range s.Issuers {
		if issuer == nil || issuer.PartnerOf == "" {
			continue
		}
		if home := s.Issuers[issuer.PartnerOf]; home != nil && home.Epoch > issuer.Epoch {
			changed := *issuer
			changed.Epoch = home.Epoch
			s.Issuers[name] = &changed
		}
	}
}

// Ready reports nil once policy, every issuer's keys and every configured revocation list were loaded at least once,
// else what is missing. Material that has since aged does not make the sidecar unready: requests say so one by one.
func (s *Store) Ready() error {
	snapshot := s.Load()
	var missing []string
	if snapshot.Policy == nil {
		missing = append(missing, "policy")
	}
	for _, name := range slices.Sorted(maps.Keys(snapshot.Issuers)) {
		issuer := snapshot.Issuers[name]
		if issuer == nil || issuer.Keys == nil {
			missing = append(missing, "keys of "+name)
		}
		if issuer != nil && issuer.HasRevocations && issuer.Revocations == nil {
			missing = append(missing, "revocation list of "+name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not loaded yet: %s", strings.Join(missing, ", "))
	}
	return nil
}
