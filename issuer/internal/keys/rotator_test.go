package keys

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

var operator = audit.Actor{Kind: audit.KindBootstrap, RequestID: "req-1"}

// begun is a store with active and pending keys that everybody knows.
func begun(t *testing.T, change ...func(*Config)) (*memory, *Rings, *Ring, *clock) {
	t.Helper()
	store, c := newMemory(), newClock()
	rings := newRings(t, store, newSealer(t), c, change...)
	ring := rings.of(t, instance)
	rings.tick(t)
	c.add(usual.Lead())
	rings.tick(t)
	return store, rings, ring, c
}

func pending(t *testing.T, store *memory, use Use) Stored {
	t.Helper()
	k, ok := store.issuers[instance].set.find(use, Pending)
	if !ok {
		t.Fatalf("no pending %s key", use)
	}
	return k
}

// One life of a key, second by second.
func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	store, rings, ring, c := begun(t)
	old, next := signer(t, ring, AccessToken).ID(), pending(t, store, AccessToken).ID
	if !published(ring, next) {
		t.Fatal("the pending key is not published")
	}
	c.add(usual.Period - usual.Lead() - time.Second)
	rings.tick(t)
	if signer(t, ring, AccessToken).ID() != old {
		t.Fatal("rotated too early")
	}
	c.add(time.Second)
	rings.tick(t)
	if signer(t, ring, AccessToken).ID() != next || !published(ring, old) {
		t.Fatal("not rotated, or the retiring key is not published")
	}
	if again := pending(t, store, AccessToken).ID; again == next || !published(ring, again) {
		t.Error("no new successor")
	}
	c.add(usual.Tail() - time.Second)
	rings.tick(t)
	if !published(ring, old) {
		t.Fatal("the retiring key is gone too early")
	}
	c.add(time.Second)
	rings.tick(t)
	if published(ring, old) {
		t.Fatal("the retired key is still published")
	}
}

// The worst that can happen before a key signs: a process that heard of everything right before the key was stored publishes without it for as long as it may, a verifier
// fills its cache at that last moment, and the key is activated by a process whose clock is ahead.
func TestLeadInTheWorstCase(t *testing.T) {
	t.Parallel()
	store, rings, ring, c := begun(t)
	late := newRings(t, store, rings.sealer, c)
	lateRing := late.of(t, instance)
	ahead := newRings(t, store, rings.sealer, c, func(cfg *Config) { cfg.Now = func() time.Time { return c.now().Add(Skew) } })
	if err := rings.Rotator().Rotate(t.Context(), operator, instance, AccessToken, jose.EdDSA); err != nil {
		t.Fatal(err)
	}
	next := pending(t, store, AccessToken).ID
	c.add(ReloadMax)
	if p := lateRing.KeySet(); !p.Current || published(lateRing, next) {
		t.Fatal("the scenario is not the worst case")
	}
	c.add(usual.MaxAge - 1) // the cache is still good
	for range 2 {
		store.until = time.Time{}
		ahead.tick(t)
		rings.tick(t)
		if signer(t, ring, AccessToken).ID() == next {
			t.Fatal("a key signs that a good cache does not have")
		}
	}
	c.add(Skew + 1)
	store.until = time.Time{}
	rings.tick(t)
	if signer(t, ring, AccessToken).ID() != next {
		t.Error("the key does not sign although everybody knows it")
	}
}

// The worst that can happen after a key signed: a process that has not heard signs as late as it may, with a clock that is ahead, and a verifier fills its cache when that
// token is about to expire.
func TestTailInTheWorstCase(t *testing.T) {
	t.Parallel()
	store, rings, ring, c := begun(t)
	old := signer(t, ring, AccessToken).ID()
	late := newRings(t, store, rings.sealer, c)
	lateRing := late.of(t, instance)
	if err := rings.Rotator().Rotate(t.Context(), operator, instance, AccessToken, ""); err != nil {
		t.Fatal(err)
	}
	c.add(ReloadMax)
	if signer(t, lateRing, AccessToken).ID() != old {
		t.Fatal("the scenario is not the worst case")
	}
	c.add(SignedLifetimeMax + Skew - 1) // the token is alive
	rings.tick(t)
	if !published(ring, old) {
		t.Error("a token is alive whose key is not published any more")
	}
}

func TestPlannedRotation(t *testing.T) {
	t.Parallel()
	store, rings, ring, _ := begun(t)
	next := pending(t, store, AccessToken).ID
	id := signer(t, ring, IDToken).ID()
	if err := rings.Rotator().Rotate(t.Context(), operator, instance, AccessToken, ""); err != nil {
		t.Fatal(err)
	}
	rings.tick(t)
	if signer(t, ring, AccessToken).ID() != next {
		t.Error("a successor that everybody knows does not sign at once")
	}
	if signer(t, ring, IDToken).ID() != id {
		t.Error("the other use was rotated too")
	}
	i := slices.IndexFunc(store.changes, func(r recorded) bool { return r.change.Action == audit.KeyRotate })
	if i < 0 || store.changes[i].actor != operator || store.changes[i].change.Target != next {
		t.Errorf("recorded %+v", store.changes)
	}
	// Asked for again at once: the next successor has to be published first. A third request changes nothing.
	before := len(store.changes)
	for range 2 {
		if err := rings.Rotator().Rotate(t.Context(), operator, instance, AccessToken, ""); err != nil {
			t.Fatal(err)
		}
	}
	rings.tick(t)
	if signer(t, ring, AccessToken).ID() != next || len(store.changes) != before+1 {
		t.Errorf("%d changes", len(store.changes)-before)
	}
}

func TestAlgorithmIsChosenPerIssuer(t *testing.T) {
	t.Parallel()
	store, rings, ring, c := begun(t, realKeys)
	replaced := pending(t, store, AccessToken)
	if err := rings.Rotator().Rotate(t.Context(), operator, instance, AccessToken, jose.EdDSA); err != nil {
		t.Fatal(err)
	}
	rings.tick(t)
	if signer(t, ring, AccessToken).Algorithm() != jose.ES256 || published(ring, replaced.ID) {
		t.Error("the new algorithm signs before anybody knows the key, or the pending key it replaces is still published")
	}
	c.add(usual.Lead())
	rings.tick(t)
	if signer(t, ring, AccessToken).Algorithm() != jose.EdDSA || signer(t, ring, IDToken).Algorithm() != jose.RS256 {
		t.Errorf("signs with %s and %s", signer(t, ring, AccessToken).Algorithm(), signer(t, ring, IDToken).Algorithm())
	}
	if k := pending(t, store, AccessToken); k.Algorithm != jose.EdDSA {
		t.Errorf("the next successor is %s", k.Algorithm)
	}
	for _, bad := range []struct {
		use Use
		alg jose.Algorithm
	}{{AccessToken, jose.RS256}, {AccessToken, "none"}, {IDToken, jose.ES256}, {"encryption", ""}, {"", ""}} {
		if err := rings.Rotator().Rotate(t.Context(), operator, instance, bad.use, bad.alg); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s with %s: %v", bad.use, bad.alg, err)
		}
	}
}

func TestRevokedActiveKey(t *testing.T) {
	t.Parallel()
	store, rings, ring, _ := begun(t)
	old, next := signer(t, ring, AccessToken).ID(), pending(t, store, AccessToken).ID
	for range 2 { // again is no error
		if err := rings.Rotator().Revoke(t.Context(), operator, instance, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if signer(t, ring, AccessToken).ID() != next || published(ring, old) {
		t.Error("the successor does not sign, or the revoked key is still published")
	}
	if n := count(store.issuers[instance].set.Keys, func(k Stored) bool { return k.ID == old && !k.RevokedAt.IsZero() && k.Sealed == nil }); n != 1 {
		t.Error("the key is not revoked, or its private half is still there")
	}
	if n := len(slices.DeleteFunc(slices.Clone(store.changes), func(r recorded) bool { return r.change.Action != audit.KeyRevoke })); n != 1 {
		t.Errorf("%d revocations recorded", n)
	}
	if err := rings.Rotator().Revoke(t.Context(), operator, instance, "no-such-key"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("an unknown key: %v", err)
	}
	if err := rings.Rotator().Revoke(t.Context(), operator, agentid.New[agentid.Organization](), next); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a key of another issuer: %v", err)
	}
}

// Both are compromised: the pending key is revoked first, and the one that takes its place has never been seen by anybody.
func TestRevokedSuccessor(t *testing.T) {
	t.Parallel()
	store, rings, ring, _ := begun(t)
	active, next := signer(t, ring, AccessToken).ID(), pending(t, store, AccessToken).ID
	for _, kid := range []string{next, active} {
		if err := rings.Rotator().Revoke(t.Context(), operator, instance, kid); err != nil {
			t.Fatal(err)
		}
	}
	rings.tick(t)
	if now := signer(t, ring, AccessToken).ID(); now == active || now == next || published(ring, active) || published(ring, next) {
		t.Errorf("%s signs", now)
	}
}

// Without a pending key the new one is made in the same transaction: there is no moment without an active key.
func TestRevokedBeforeThereIsASuccessor(t *testing.T) {
	t.Parallel()
	store, c := newMemory(), newClock()
	rings := newRings(t, store, newSealer(t), c)
	ring := rings.of(t, instance)
	old := signer(t, ring, AccessToken).ID()
	if err := rings.Rotator().Revoke(t.Context(), operator, instance, old); err != nil {
		t.Fatal(err)
	}
	rings.tick(t)
	if signer(t, ring, AccessToken).ID() == old {
		t.Error("the revoked key signs")
	}
}

func TestRevokedRetiringKey(t *testing.T) {
	t.Parallel()
	_, rings, ring, _ := begun(t)
	old := signer(t, ring, AccessToken).ID()
	if err := rings.Rotator().Rotate(t.Context(), operator, instance, AccessToken, ""); err != nil {
		t.Fatal(err)
	}
	rings.tick(t)
	active := signer(t, ring, AccessToken).ID()
	if err := rings.Rotator().Revoke(t.Context(), operator, instance, old); err != nil {
		t.Fatal(err)
	}
	rings.tick(t)
	if published(ring, old) || signer(t, ring, AccessToken).ID() != active {
		t.Error("the retiring key is still published, or the active one was touched")
	}
}

// Verifiers that report to us can hold an activation up, and nothing else.
func TestActivationWaitsForAcknowledgement(t *testing.T) {
	t.Parallel()
	known, trouble := false, error(nil)
	var asked []string
	store, rings, ring, c := begun(t, func(cfg *Config) {
		cfg.Acknowledged = func(_ context.Context, _ agentid.Organization, kid string) (bool, error) {
			asked = append(asked, kid)
			return known, trouble
		}
	})
	if len(asked) > 0 {
		t.Errorf("asked before the time of %v", asked)
	}
	next := pending(t, store, AccessToken).ID
	c.add(usual.Period)
	rings.tick(t)
	if !slices.Contains(asked, next) || signer(t, ring, AccessToken).ID() == next {
		t.Fatal("activated without being asked for, or without an answer")
	}
	trouble = errors.New("nobody answers")
	c.add(acknowledgementRetry)
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := rings.Tick(t.Context()); !errors.Is(err, trouble) || signer(t, ring, AccessToken).ID() == next {
		t.Fatalf("unclear, and activated: %v", err)
	}
	// An emergency does not wait.
	if err := rings.Rotator().Revoke(t.Context(), operator, instance, signer(t, ring, AccessToken).ID()); err != nil {
		t.Fatal(err)
	}
	if err := rings.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if signer(t, ring, AccessToken).ID() != next {
		t.Error("the successor of a revoked key waits")
	}
	known, trouble = true, nil
	c.add(acknowledgementRetry)
	rings.tick(t)
	if now, ok := store.issuers[instance].set.find(IDToken, ActiveKey); !ok || now.ActivatedAt != c.now() {
		t.Errorf("acknowledged, and not activated: %+v", now)
	}
}

// slow lets another process finish between what this one reads and what it decides.
type slow struct {
	*memory
	between func()
}

func (s *slow) SigningKeys(ctx context.Context, org agentid.Organization) (Set, error) {
	set, err := s.memory.SigningKeys(ctx, org)
	if between := s.between; between != nil {
		s.between = nil
		between()
	}
	return set, err
}

// Two processes that both believe to lead take each step once.
func TestTwoLeaders(t *testing.T) {
	t.Parallel()
	store, c := newMemory(), newClock()
	sealer := newSealer(t)
	s := &slow{memory: store}
	a, b := newRings(t, store, sealer, c), newRings(t, s, sealer, c)
	a.of(t, instance)
	for range 5 {
		s.between = func() { a.tick(t) }
		store.until = time.Time{}
		if _, err := b.Rotator().Advance(t.Context(), instance); err != nil {
			t.Fatal(err)
		}
		store.until = time.Time{}
		c.add(usual.Period)
	}
	created := count(store.issuers[instance].set.Keys, func(Stored) bool { return true })
	if created != 2*(1+5) {
		t.Errorf("%d keys were made, want 12: one of each use, and a successor each time", created)
	}
}

// Only the leader works, and when it is gone another one takes over.
func TestOneProcessRunsTheSchedule(t *testing.T) {
	t.Parallel()
	store, c := newMemory(), newClock()
	sealer := newSealer(t)
	a, b := newRings(t, store, sealer, c), newRings(t, store, sealer, c)
	a.of(t, instance)
	a.tick(t)
	made := len(store.changes)
	c.add(usual.Period)
	store.until = c.now().Add(leadFor)
	b.tick(t)
	if len(store.changes) != made {
		t.Error("a process that does not lead changed something")
	}
	c.add(leadFor)
	b.tick(t)
	if len(store.changes) == made {
		t.Error("nobody took over")
	}
}

// A shorter period counts from the next start on, not only when what was planned before is due.
func TestNewPeriodCountsAtOnce(t *testing.T) {
	t.Parallel()
	store, rings, ring, c := begun(t)
	old := signer(t, ring, AccessToken).ID()
	c.add(2 * time.Hour)
	store.until = time.Time{}
	shorter := newRings(t, store, rings.sealer, c, func(cfg *Config) { cfg.Schedule.Period = time.Hour })
	shorter.tick(t)
	if signer(t, shorter.of(t, instance), AccessToken).ID() == old {
		t.Error("the key signs for longer than the period")
	}
}

// More issuers than are read at once, one of which cannot be helped: the others go on.
func TestManyIssuers(t *testing.T) {
	t.Parallel()
	store, c := newMemory(), newClock()
	rings := newRings(t, store, newSealer(t), c)
	rings.of(t, instance)
	for range duePage + 5 {
		rings.of(t, agentid.New[agentid.Organization]())
	}
	rings.tick(t)
	for org, i := range store.issuers {
		if n := count(i.set.Keys, func(k Stored) bool { return k.State == Pending }); n != 2 {
			t.Errorf("%q has %d pending keys", org, n)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := Config{Schedule: usual}
	for name, spoil := range map[string]func(*Config){
		"no period":        func(c *Config) { c.Schedule.Period = 0 },
		"period too short": func(c *Config) { c.Schedule.Period = 2*usual.Lead() - 1 },
		"period too long":  func(c *Config) { c.Schedule.Period = PeriodMax + 1 },
		"RS256":            func(c *Config) { c.Algorithm = jose.RS256 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewRotator(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewRotator(good); err != nil {
		t.Error(err)
	}
}
