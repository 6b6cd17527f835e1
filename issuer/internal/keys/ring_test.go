package keys

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// fake is a Store in memory with the one promise Open leans on: one active key per use.
type fake struct {
	mu     sync.Mutex
	stored []Stored
	actors []audit.Actor
	// beforeCreate runs once, before the first key is stored: the moment another instance wins.
	beforeCreate func()
	err          error
}

func (f *fake) SigningKeys(context.Context) ([]Stored, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stored), f.err
}

func (f *fake) CreateSigningKey(_ context.Context, actor audit.Actor, k Stored) error {
	f.mu.Lock()
	before := f.beforeCreate
	f.beforeCreate = nil
	f.mu.Unlock()
	if before != nil {
		before()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if hasActive(f.stored, k.Use) {
		return &problem.Error{Kind: problem.Conflict}
	}
	f.stored, f.actors = append(f.stored, k), append(f.actors, actor)
	return nil
}

// scopes is seal.Keysets in memory.
type scopes struct {
	mu sync.Mutex
	m  map[string]seal.WrappedKeyset
}

func (s *scopes) Keyset(_ context.Context, scope string) (seal.WrappedKeyset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.m[scope]
	if !ok {
		return w, seal.ErrNoKeyset
	}
	return w, nil
}

func (s *scopes) CreateKeyset(_ context.Context, scope string, w seal.WrappedKeyset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.m[scope]; ok {
		return seal.ErrKeysetExists
	}
	s.m[scope] = w
	return nil
}

func newSealer(t *testing.T) *seal.Sealer {
	t.Helper()
	document, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := seal.ParseKEK(document)
	if err != nil {
		t.Fatal(err)
	}
	return seal.New(kek, &scopes{m: make(map[string]seal.WrappedKeyset)})
}

func now() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func TestFirstKeysAreMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	store, sealer := &fake{}, newSealer(t)
	first, err := Open(t.Context(), store, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), store, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(store.stored) != 2 {
		t.Fatalf("%d keys stored, want one per use", len(store.stored))
	}
	for use, alg := range map[Use]jose.Algorithm{AccessToken: jose.ES256, IDToken: jose.RS256} {
		a, errA := first.Signer(use)
		b, errB := second.Signer(use)
		if errA != nil || errB != nil || a.ID() != b.ID() || a.Algorithm() != alg {
			t.Errorf("%s: %v %v, %v %v", use, a, b, errA, errB)
		}
	}
	for i, k := range store.stored {
		if store.actors[i].Validate() != nil || k.State != ActiveKey || !k.CreatedAt.Equal(now()) || !k.ActivatedAt.Equal(now()) {
			t.Errorf("stored %+v by %+v", k, store.actors[i])
		}
	}
	if _, err := first.Signer("encryption"); err == nil {
		t.Error("a signer for an unknown use")
	}
}

func TestWhatIsSignedVerifiesWithWhatIsPublished(t *testing.T) {
	t.Parallel()
	ring, err := Open(t.Context(), &fake{}, newSealer(t), now)
	if err != nil {
		t.Fatal(err)
	}
	set, problems, err := jose.ParseKeySet(ring.KeySet().Document)
	if err != nil || len(problems) > 0 || set.Len() != 2 {
		t.Fatalf("published %s: %v, %v", ring.KeySet().Document, problems, err)
	}
	for _, use := range []Use{AccessToken, IDToken} {
		signer, err := ring.Signer(use)
		if err != nil {
			t.Fatal(err)
		}
		key, ok := set.Lookup(signer.ID())
		if !ok || key.Algorithm() != signer.Algorithm() {
			t.Errorf("%s: the signer's key is not published", use)
		}
	}
}

// The loser of the race uses the winner's key.
func TestAnotherInstanceWins(t *testing.T) {
	t.Parallel()
	store, sealer := &fake{}, newSealer(t)
	var winner *Ring
	store.beforeCreate = func() {
		var err error
		if winner, err = Open(t.Context(), store, sealer, now); err != nil {
			t.Error(err)
		}
	}
	loser, err := Open(t.Context(), store, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	if string(loser.KeySet().Document) != string(winner.KeySet().Document) {
		t.Error("the two instances publish different keys")
	}
}

func TestStatesDecideWhatIsPublishedAndWhatSigns(t *testing.T) {
	t.Parallel()
	store, sealer := &fake{}, newSealer(t)
	for _, state := range []State{Pending, Retiring, Destroyed} {
		one := &fake{}
		if _, err := Open(t.Context(), one, sealer, now); err != nil {
			t.Fatal(err)
		}
		k := one.stored[0]
		k.State = state
		store.stored = append(store.stored, k)
	}
	ring, err := Open(t.Context(), store, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	set, _, err := jose.ParseKeySet(ring.KeySet().Document)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range store.stored {
		if _, published := set.Lookup(k.ID); published != (k.State != Destroyed) {
			t.Errorf("%s key published: %v", k.State, published)
		}
		signer, err := ring.Signer(k.Use)
		if err != nil || (signer.ID() == k.ID) != (k.State == ActiveKey) {
			t.Errorf("%s key signs: %v", k.State, err)
		}
	}
}

// Someone who can write to the database but lacks the key-encryption key must not get a key of theirs published or used.
func TestTamperedRowsAreRefused(t *testing.T) {
	t.Parallel()
	sealer := newSealer(t)
	for name, tamper := range map[string]func([]Stored){
		"ciphertexts swapped":      func(s []Stored) { s[0].Sealed, s[1].Sealed = s[1].Sealed, s[0].Sealed },
		"key under another id":     func(s []Stored) { s[0].ID = s[1].ID },
		"another algorithm":        func(s []Stored) { s[0].Algorithm = s[1].Algorithm },
		"ciphertext of nothing":    func(s []Stored) { s[0].Sealed = nil },
		"unopenable retiring key":  func(s []Stored) { s[0].Sealed[7] ^= 1; s[0].State = Retiring },
		"ciphertext bit":           func(s []Stored) { s[1].Sealed[len(s[1].Sealed)-1] ^= 1 },
		"row and ciphertext moved": func(s []Stored) { s[0].ID, s[0].Sealed = s[1].ID, s[1].Sealed },
	} {
		store := &fake{}
		if _, err := Open(t.Context(), store, sealer, now); err != nil {
			t.Fatal(err)
		}
		tamper(store.stored)
		if _, err := Open(t.Context(), store, sealer, now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPublishedHalfComesFromTheSealedKey(t *testing.T) {
	t.Parallel()
	store, sealer := &fake{}, newSealer(t)
	ring, err := Open(t.Context(), store, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	attacker, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	store.stored[0].PublicJWK = json.RawMessage(attacker.PublicJWK())
	again, err := Open(t.Context(), store, sealer, now)
	if err != nil {
		t.Fatal(err)
	}
	if string(again.KeySet().Document) != string(ring.KeySet().Document) {
		t.Error("a public key written into the table was published")
	}
}

func TestSealedFormHoldsNoPrivateKey(t *testing.T) {
	t.Parallel()
	store := &fake{}
	ring, err := Open(t.Context(), store, newSealer(t), now)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ring.Signer(AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	private, err := signer.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range store.stored {
		if k.ID == signer.ID() && slices.Equal(k.Sealed, private) {
			t.Error("the private key is stored as it is")
		}
	}
	if _, err := Open(t.Context(), store, newSealer(t), now); err == nil {
		t.Error("the keys open without the key-encryption key")
	}
}

func TestStoreTroubleStopsTheStart(t *testing.T) {
	t.Parallel()
	store := &fake{err: errors.New("connection refused")}
	if _, err := Open(t.Context(), store, newSealer(t), now); !errors.Is(err, store.err) {
		t.Errorf("Open = %v, want the store's error", err)
	}
}
