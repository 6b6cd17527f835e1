package keys

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
)

// instance is the issuer of most tests.
var instance agentid.Organization

func newRings(t *testing.T, store Store, sealer Sealer, c *clock, change ...func(*Config)) *Rings {
	t.Helper()
	cfg := Config{Store: store, Sealer: sealer, Schedule: usual, Now: c.now, Generate: quick}
	for _, f := range change {
		f(&cfg)
	}
	rings, err := NewRings(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return rings
}

func realKeys(c *Config) { c.Generate = nil }

func (r *Rings) of(t *testing.T, org agentid.Organization) *Ring {
	t.Helper()
	ring, err := r.Of(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func (r *Rings) tick(t *testing.T) {
	t.Helper()
	if err := errors.Join(r.Tick(t.Context()), r.Refresh(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func signer(t *testing.T, r *Ring, use Use) *jose.SigningKey {
	t.Helper()
	key, err := r.Signer(use)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func published(r *Ring, kid string) bool {
	_, ok := r.KeySet().Keys.Lookup(kid)
	return ok
}

func TestFirstKeysAreMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	first := newRings(t, store, sealer, c, realKeys).of(t, instance)
	second := newRings(t, store, sealer, c, realKeys).of(t, instance)
	if len(store.changes) != 2 {
		t.Fatalf("%d keys stored, want one per use", len(store.changes))
	}
	for use, alg := range map[Use]jose.Algorithm{AccessToken: jose.ES256, IDToken: jose.RS256} {
		if a, b := signer(t, first, use), signer(t, second, use); a.ID() != b.ID() || a.Algorithm() != alg {
			t.Errorf("%s: %s %s, %s", use, a.ID(), a.Algorithm(), b.ID())
		}
	}
	for _, k := range store.issuers[instance].set.Keys {
		if k.State != ActiveKey || !k.CreatedAt.Equal(c.now()) || !k.ActivatedAt.Equal(c.now()) {
			t.Errorf("stored %+v", k)
		}
	}
	if _, err := first.Signer("encryption"); err == nil {
		t.Error("a signer for an unknown use")
	}
}

// Processes that start together end up with the same keys, whoever wins.
func TestFirstKeysOfProcessesThatStartTogether(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	documents := make([]string, 8)
	var group sync.WaitGroup
	for i := range documents {
		rings := newRings(t, store, sealer, c)
		group.Go(func() {
			ring, err := rings.Of(t.Context(), instance)
			if err != nil {
				t.Error(err)
				return
			}
			documents[i] = string(ring.KeySet().Document)
		})
	}
	group.Wait()
	for _, d := range documents[1:] {
		if d != documents[0] {
			t.Errorf("two processes publish different keys:\n%s\n%s", d, documents[0])
		}
	}
}

func TestIssuersHaveKeysOfTheirOwn(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	rings := newRings(t, store, sealer, c)
	a, b := agentid.New[agentid.Organization](), agentid.New[agentid.Organization]()
	seen := map[string]bool{}
	for _, org := range []agentid.Organization{instance, a, b} {
		for _, k := range rings.of(t, org).KeySet().Keys.Keys() {
			if seen[k.ID()] {
				t.Errorf("key %s belongs to two issuers", k.ID())
			}
			seen[k.ID()] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d keys, want two per issuer", len(seen))
	}
	// Someone who can write to the database moves the keys of one organization into another's rows.
	store.issuers[b].set.Keys = store.issuers[a].set.Keys
	if _, err := newRings(t, store, sealer, c).Of(t.Context(), b); err == nil {
		t.Error("the keys of another organization open")
	}
}

func TestWhatIsSignedVerifiesWithWhatIsPublished(t *testing.T) {
	t.Parallel()
	ring := newRings(t, newMemory(), newSealer(t), newClock(), realKeys).of(t, instance)
	set, problems, err := jose.ParseKeySet(ring.KeySet().Document)
	if err != nil || len(problems) > 0 || set.Len() != 2 || ring.KeySet().Keys.Len() != 2 {
		t.Fatalf("published %s: %v, %v", ring.KeySet().Document, problems, err)
	}
	for _, use := range Uses() {
		key, ok := set.Lookup(signer(t, ring, use).ID())
		if !ok || key.Algorithm() != signer(t, ring, use).Algorithm() {
			t.Errorf("%s: the signer's key is not published", use)
		}
	}
}

// Someone who can write to the database but lacks the key-encryption key must not get a key of theirs published or used.
func TestTamperedRowsAreRefused(t *testing.T) {
	t.Parallel()
	sealer, c := newSealer(t), newClock()
	for name, tamper := range map[string]func([]Stored){
		"ciphertexts swapped":      func(s []Stored) { s[0].Sealed, s[1].Sealed = s[1].Sealed, s[0].Sealed },
		"key under another id":     func(s []Stored) { s[0].ID = s[1].ID },
		"another algorithm":        func(s []Stored) { s[0].Algorithm = jose.RS256 },
		"ciphertext of nothing":    func(s []Stored) { s[0].Sealed = nil },
		"ciphertext bit":           func(s []Stored) { s[1].Sealed[len(s[1].Sealed)-1] ^= 1 },
		"row and ciphertext moved": func(s []Stored) { s[0].ID, s[0].Sealed = s[1].ID, s[1].Sealed },
	} {
		store := newMemory()
		newRings(t, store, sealer, c).of(t, instance)
		tamper(store.issuers[instance].set.Keys)
		if _, err := newRings(t, store, sealer, c).Of(t.Context(), instance); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPublishedHalfComesFromTheSealedKey(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	ring := newRings(t, store, sealer, c).of(t, instance)
	attacker, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	store.issuers[instance].set.Keys[0].PublicJWK = json.RawMessage(attacker.PublicJWK())
	again := newRings(t, store, sealer, c).of(t, instance)
	if string(again.KeySet().Document) != string(ring.KeySet().Document) {
		t.Error("a public key written into the table was published")
	}
}

func TestSealedFormHoldsNoPrivateKey(t *testing.T) {
	t.Parallel()
	store, c := newMemory(), newClock()
	key := signer(t, newRings(t, store, newSealer(t), c).of(t, instance), AccessToken)
	private, err := key.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range store.issuers[instance].set.Keys {
		if slices.Equal(k.Sealed, private) {
			t.Error("the private key is stored as it is")
		}
	}
	if _, err := newRings(t, store, newSealer(t), c).Of(t.Context(), instance); err == nil {
		t.Error("the keys open without the key-encryption key")
	}
}

func TestStoreTroubleStopsTheStart(t *testing.T) {
	t.Parallel()
	store := newMemory()
	store.err = errors.New("connection refused")
	rings := newRings(t, store, newSealer(t), newClock())
	if _, err := rings.Of(t.Context(), instance); !errors.Is(err, store.err) {
		t.Errorf("Of = %v, want the store's error", err)
	}
	store.err = nil
	rings.of(t, instance) // and the next one tries again
}

// A process that cannot ask signs nothing and lets nobody cache, but still publishes.
func TestStaleRing(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	rings := newRings(t, store, sealer, c)
	ring := rings.of(t, instance)
	store.err = errors.New("connection refused")
	c.add(ReloadMax)
	if err := rings.Refresh(t.Context()); err == nil {
		t.Fatal("refreshed without a store")
	}
	if _, err := ring.Signer(AccessToken); err != nil || !ring.KeySet().Current {
		t.Errorf("after exactly ReloadMax: %v", err)
	}
	c.add(1)
	if _, err := ring.Signer(AccessToken); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("signs without knowing whether the key is still good: %v", err)
	}
	if p := ring.KeySet(); p.Current || p.Keys.Len() != 2 {
		t.Errorf("published: %+v", p)
	}
	store.err = nil
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Signer(AccessToken); err != nil || !ring.KeySet().Current {
		t.Errorf("after the store is back: %v", err)
	}
	c.add(-time.Hour)
	if _, err := ring.Signer(AccessToken); err == nil {
		t.Error("signs although the clock was set back by an hour")
	}
}

// A ring whose new contents do not open keeps the old ones no longer than allowed; the others go on.
func TestRingThatCannotBeReadIsNotConfirmed(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	rings := newRings(t, store, sealer, c)
	org := agentid.New[agentid.Organization]()
	broken, whole := rings.of(t, org), rings.of(t, instance)
	store.mu.Lock()
	store.revision++
	store.issuers[org].set.Revision = store.revision
	sealed := store.issuers[org].set.Keys[0].Sealed
	store.issuers[org].set.Keys[0].Sealed = []byte("x")
	store.mu.Unlock()
	for range 4 {
		c.add(ReloadMax / 3)
		if err := rings.Refresh(t.Context()); err == nil {
			t.Error("nothing said about a ring that does not open")
		}
	}
	if _, err := broken.Signer(AccessToken); err == nil {
		t.Error("signs with keys that were replaced")
	}
	if _, err := whole.Signer(AccessToken); err != nil {
		t.Error(err)
	}
	store.issuers[org].set.Keys[0].Sealed = sealed
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Signer(AccessToken); err != nil {
		t.Error(err)
	}
}

// The database was restored: revisions that were seen come again, with other contents.
func TestRestoredDatabase(t *testing.T) {
	t.Parallel()
	store, sealer, c := newMemory(), newSealer(t), newClock()
	rings := newRings(t, store, sealer, c)
	ring := rings.of(t, instance)
	backup, revision := *store.issuers[instance], store.revision
	old := signer(t, ring, AccessToken).ID()
	if err := rings.Rotator().Revoke(t.Context(), scheduler, instance, old); err != nil {
		t.Fatal(err)
	}
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if signer(t, ring, AccessToken).ID() == old {
		t.Fatal("the revoked key signs")
	}
	store.issuers[instance], store.revision = &backup, revision
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if signer(t, ring, AccessToken).ID() != old {
		t.Error("what was restored is not in force")
	}
}

func TestRingsAreBounded(t *testing.T) {
	t.Parallel()
	rings := newRings(t, newMemory(), newSealer(t), newClock())
	rings.of(t, instance)
	for range ringsMax + 10 {
		rings.entry(agentid.New[agentid.Organization]())
	}
	if n := len(rings.rings); n > ringsMax {
		t.Errorf("%d rings in memory", n)
	}
	if _, ok := rings.rings[instance]; !ok {
		t.Error("the instance's ring was forgotten")
	}
}
