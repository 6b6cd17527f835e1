package keys

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// errKilled is what a process sees of itself after it was killed: nothing gets through any more.
var errKilled = errors.New("killed")

// mortal is a process's way to the store. It may be killed right before a change is committed, or right after.
type mortal struct {
	Store
	fate   func(audit.Action) (before, after bool)
	killed bool
}

func (m *mortal) ChangeSigningKeys(ctx context.Context, actor audit.Actor, org agentid.Organization, c Change) error {
	if m.killed {
		return errKilled
	}
	before, after := m.fate(c.Action)
	if m.killed = before; before {
		return errKilled
	}
	err := m.Store.ChangeSigningKeys(ctx, actor, org, c)
	if m.killed = after; after {
		return errKilled
	}
	return err
}

func (m *mortal) SigningKeys(ctx context.Context, org agentid.Organization) (Set, error) {
	if m.killed {
		return Set{}, errKilled
	}
	return m.Store.SigningKeys(ctx, org)
}

func (m *mortal) ChangedSigningKeys(ctx context.Context, since int64) (int64, []Revision, error) {
	if m.killed {
		return 0, nil, errKilled
	}
	return m.Store.ChangedSigningKeys(ctx, since)
}

// process is an issuer process with a clock of its own, up to half of Skew off.
type process struct {
	*Rings
	store   *mortal
	off     time.Duration
	polls   time.Time // next, by true time
	downTil time.Time
}

// signed is a token, and cached a verifier's key set.
type (
	signed struct {
		kid     string
		expires time.Time // by true time, for a verifier whose clock is as far behind as the signer's is ahead
	}
	cached struct {
		from time.Time
		kids map[string]bool
	}
)

// years is a world of issuer processes that come and go, verifiers with caches, and time.
type years struct {
	t         *testing.T
	clock     *clock
	random    *rand.Rand
	memory    *memory
	cfg       Config
	processes []*process
	tokens    []signed
	caches    []cached
	early     map[string]time.Time // keys that had to sign before everybody could know them
	kills     map[string]int
	verified  int
	signers   map[string]bool
}

func (y *years) start() *process {
	p := &process{off: time.Duration(y.random.Int64N(int64(Skew))) - Skew/2}
	p.store = &mortal{Store: y.memory, fate: y.fate}
	cfg := y.cfg
	cfg.Store, cfg.Now = p.store, func() time.Time { return y.clock.now().Add(p.off) }
	rings, err := NewRings(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		y.t.Fatal(err)
	}
	p.Rings = rings
	return p
}

// fate kills at a third of all changes before the commit, and at another third after it.
func (y *years) fate(a audit.Action) (before, after bool) {
	switch y.random.IntN(3) {
	case 0:
		y.kills["before "+string(a)]++
		return true, false
	case 1:
		y.kills["after "+string(a)]++
		return false, true
	}
	return false, false
}

// live lets every process do what it does in this moment.
func (y *years) live() {
	now := y.clock.now()
	for i, p := range y.processes {
		if p.store.killed {
			y.processes[i] = y.start() // with nothing in memory
			y.processes[i].downTil = now.Add(time.Duration(y.random.Int64N(int64(5 * time.Minute))))
			continue
		}
		if now.Before(p.downTil) || now.Before(p.polls) {
			continue
		}
		p.polls = now.Add(time.Duration(y.random.Int64N(int64(ReloadMax)))) // as late as is allowed
		if y.random.IntN(50) == 0 {
			p.polls = p.polls.Add(20 * ReloadMax) // cut off from the database: later than allowed
		}
		if err := y.ignoreKill(p.Refresh(y.t.Context())); err != nil {
			y.t.Fatal(err)
		}
		if _, err := p.Of(y.t.Context(), agentid.Organization{}); y.ignoreKill(err) != nil {
			y.t.Fatal(err)
		}
		if err := y.ignoreKill(p.Tick(y.t.Context())); err != nil {
			y.t.Fatal(err)
		}
	}
}

func (y *years) ignoreKill(err error) error {
	if errors.Is(err, errKilled) {
		return nil
	}
	return err
}

// serve lets a process sign a token and a verifier fill its cache, each from any process that is up.
func (y *years) serve() {
	now := y.clock.now()
	for _, p := range []*process{y.processes[y.random.IntN(len(y.processes))], y.processes[y.random.IntN(len(y.processes))]} {
		ring := &p.entry(agentid.Organization{}).Ring
		if now.Before(p.downTil) {
			continue
		}
		for _, use := range Uses() {
			if key, err := ring.Signer(use); err == nil {
				y.tokens = append(y.tokens, signed{key.ID(), now.Add(SignedLifetimeMax + Skew)})
				y.signers[key.ID()] = true
			}
		}
		if published := ring.KeySet(); published.Current {
			c := cached{now, map[string]bool{}}
			for _, k := range published.Keys.Keys() {
				c.kids[k.ID()] = true
			}
			y.caches = append(y.caches, c)
		}
	}
}

// verify is the invariant: every token that is alive and was not revoked verifies at every cache that may be used.
func (y *years) verify() {
	now := y.clock.now()
	revoked := map[string]bool{}
	for _, k := range y.memory.issuers[agentid.Organization{}].set.Keys {
		revoked[k.ID] = !k.RevokedAt.IsZero()
	}
	y.tokens = keep(y.tokens, func(s signed) bool { return now.Before(s.expires) && !revoked[s.kid] })
	y.caches = keep(y.caches, func(c cached) bool { return now.Sub(c.from) <= y.cfg.Schedule.MaxAge })
	alive := map[string]bool{}
	for _, s := range y.tokens {
		alive[s.kid] = true
	}
	for _, c := range y.caches {
		for kid := range alive {
			if early, ok := y.early[kid]; ok && c.from.Before(early) {
				continue
			}
			y.verified++
			if !c.kids[kid] {
				y.t.Fatalf("%s: a token signed with %s does not verify with the key set of %s", now, kid, c.from)
			}
		}
	}
}

func keep[T any](all []T, wanted func(T) bool) []T {
	kept := all[:0]
	for _, v := range all {
		if wanted(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

// operate is an operator who asks for a rotation, or revokes a key that signs.
func (y *years) operate(revoke bool) {
	p := y.start()
	p.store.fate = func(audit.Action) (bool, bool) { return false, false }
	p.off = 0
	by := audit.Actor{Kind: audit.KindBootstrap}
	if !revoke {
		if err := p.Rotator().Rotate(y.t.Context(), by, agentid.Organization{}, AccessToken, ""); err != nil {
			y.t.Fatal(err)
		}
		return
	}
	set := y.memory.issuers[agentid.Organization{}].set
	active, ok := set.find(AccessToken, ActiveKey)
	if !ok {
		return // the first keys are not made yet
	}
	if err := p.Rotator().Revoke(y.t.Context(), by, agentid.Organization{}, active.ID); err != nil {
		y.t.Fatal(err)
	}
	successor, _ := y.memory.issuers[agentid.Organization{}].set.find(AccessToken, ActiveKey)
	if y.clock.now().Before(y.cfg.Schedule.known(successor)) {
		y.early[successor.ID] = y.clock.now().Add(ReloadMax)
	}
}

// Three years of rotations, planned, asked for and in an emergency, by three processes whose clocks differ, that hear of changes as late as allowed (or later), and of
// which one is killed at two of three changes.
func TestYearsOfRotations(t *testing.T) {
	t.Parallel()
	const seed = 20260101
	y := &years{
		t: t, clock: newClock(), random: rand.New(rand.NewPCG(seed, 0)), memory: newMemory(),
		early: map[string]time.Time{}, kills: map[string]int{}, signers: map[string]bool{},
		cfg: Config{Sealer: newSealer(t), Schedule: usual, Generate: quick},
	}
	for range 3 {
		y.processes = append(y.processes, y.start())
	}
	end := y.clock.now().AddDate(3, 0, 0)
	busy, revision := y.clock.now(), int64(0)
	for y.clock.now().Before(end) {
		y.live()
		if len(y.memory.issuers) > 0 {
			if y.memory.revision != revision { // something is happening: look closely until all of it is over
				revision, busy = y.memory.revision, y.clock.now().Add(2*usual.Tail())
			}
			y.serve()
			y.verify()
		}
		if y.clock.now().Before(busy) && y.random.IntN(200) == 0 && len(y.memory.issuers) > 0 {
			y.operate(y.random.IntN(3) == 0)
		}
		if y.clock.now().Before(busy) {
			y.clock.add(time.Duration(y.random.Int64N(int64(90 * time.Second))))
		} else {
			y.clock.add(6 * time.Hour)
			y.tokens, y.caches = nil, nil
		}
	}
	for _, a := range []audit.Action{audit.KeyCreate, audit.KeyActivate, audit.KeyDestroy} {
		for _, moment := range []string{"before", "after"} {
			if y.kills[moment+" "+string(a)] < 5 {
				t.Errorf("only %d kills %s %s", y.kills[moment+" "+string(a)], moment, a)
			}
		}
	}
	if len(y.signers) < 2*36 || y.verified < 10_000 {
		t.Errorf("%d keys signed, %d times a token met a cache: this proves little", len(y.signers), y.verified)
	}
	t.Logf("%d keys signed, %d verifications, kills %v, %d early", len(y.signers), y.verified, y.kills, len(y.early))
	for _, k := range y.memory.issuers[agentid.Organization{}].set.Keys {
		if k.State == Destroyed && len(k.Sealed) > 0 {
			t.Errorf("the private half of destroyed key %s is still there", k.ID)
		}
		if k.State == Retiring && y.clock.now().Sub(k.RetiredAt) > usual.Tail()+12*time.Hour {
			t.Errorf("key %s retires since %s", k.ID, k.RetiredAt)
		}
	}
}
