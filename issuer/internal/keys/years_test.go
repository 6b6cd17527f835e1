package keys

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// errKilled is what a process sees of itself after it was killed: nothing gets through any more.
var errKilled = errors.New("killed")

// mortal is a process's way to the store. It may be killed right before a change is committed, or right after.
type mortal struct {
	Store
	fate   func(audit.Action) (before, after bool)
	done   func(Change) // after a commit
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
	if err == nil {
		m.done(c)
	}
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

// cached is a verifier's key set.
type cached struct {
	from time.Time
	kids map[string]bool
}

// years is a world of issuer processes that come and go, operators, verifiers with caches, and time.
type years struct {
	t         *testing.T
	clock     *clock
	random    *rand.Rand
	memory    *memory
	cfg       Config
	processes []*process
	tokens    map[string]time.Time // key and, by true time, the end of the last token it signed, for a verifier whose clock is as far behind as the signer's is ahead
	caches    []cached
	asks      []time.Time          // when operators ask next
	changed   time.Time            // when the keys changed last
	born      map[string]time.Time // when keys were stored, by true time
	early     map[string]time.Time // keys that had to sign before everybody could know them, and from when on whoever fills a cache gets them
	revoked   map[string]bool
	waited    int // activations that waited for everybody to know the key
	kills     map[string]int
	met       int
	signers   map[string]bool
}

func (y *years) start() *process {
	p := &process{off: time.Duration(y.random.Int64N(int64(Skew))) - Skew/2}
	if extreme := y.random.IntN(3); extreme > 0 {
		p.off = Skew / 2 * time.Duration(2*extreme-3)
	}
	p.store = &mortal{Store: y.memory, fate: y.fate, done: y.done}
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

// done notes what a change means for verifiers.
func (y *years) done(c Change) {
	now := y.clock.now()
	y.changed = now
	for _, k := range c.Create {
		y.born[k.ID] = now
		if k.State == ActiveKey && c.Action == audit.KeyRevoke {
			y.early[k.ID] = now.Add(ReloadMax)
		}
	}
	for _, m := range c.Moves {
		if m.Revoked {
			y.revoked[m.ID] = true
		}
		if m.To != ActiveKey {
			continue
		}
		// By the promises of docs/keys.md, not by the code's arithmetic: half a minute until the last process publishes it, and the life of the last cache without it.
		known := y.born[m.ID].Add(30*time.Second + y.cfg.Schedule.MaxAge)
		if c.Action == audit.KeyRevoke && now.Before(known) {
			y.early[m.ID] = y.born[m.ID].Add(ReloadMax)
		}
		if c.Action == audit.KeyActivate && now.Sub(known) < 2*Skew { // known and activated by two clocks
			y.waited++
		}
	}
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
		p.polls = now.Add(ReloadMax - time.Duration(y.random.Int64N(int64(ReloadMax)))/time.Duration(1+y.random.IntN(20))) // as late as is allowed
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

// serve lets every process that is up sign a token, and a verifier fill its cache from it.
func (y *years) serve() {
	now := y.clock.now()
	y.forget(now)
	for _, p := range y.processes {
		ring := &p.entry(agentid.Organization{}).Ring
		if now.Before(p.downTil) {
			continue
		}
		for _, use := range Uses() {
			if key, err := ring.Signer(use); err == nil {
				y.sign(key.ID(), now)
			}
		}
		if published := ring.KeySet(); published.Current {
			c := cached{now, map[string]bool{}}
			for _, k := range published.Keys.Keys() {
				c.kids[k.ID()] = true
			}
			y.caches = append(y.caches, c)
			for kid := range y.tokens {
				y.meet(c, kid)
			}
		}
	}
}

func (y *years) sign(kid string, now time.Time) {
	if y.revoked[kid] {
		return // by a process that has not heard: the token is dead
	}
	if _, alive := y.tokens[kid]; !alive {
		for _, c := range y.caches {
			y.meet(c, kid)
		}
	}
	y.tokens[kid] = now.Add(SignedLifetimeMax + Skew)
	y.signers[kid] = true
}

// forget leaves the tokens that are alive and were not revoked, and the caches that may be used.
func (y *years) forget(now time.Time) {
	maps.DeleteFunc(y.tokens, func(kid string, expires time.Time) bool { return !now.Before(expires) || y.revoked[kid] })
	y.caches = keep(y.caches, func(c cached) bool { return now.Sub(c.from) <= y.cfg.Schedule.MaxAge })
}

// meet is the invariant: a token that is alive verifies at a cache that may be used. A token and a cache do not change, so it is enough to look when the later of
// the two appears.
func (y *years) meet(c cached, kid string) {
	if early, ok := y.early[kid]; ok && c.from.Before(early) {
		return
	}
	y.met++
	if !c.kids[kid] {
		y.t.Fatalf("%s: a token signed with %s does not verify with the key set of %s", y.clock.now(), kid, c.from)
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

// operate lets an operator ask for what is due: a rotation, with another algorithm now and then, or that a key is revoked. What asks is killed like everything else,
// and the operator asks again until there is an answer.
func (y *years) operate() {
	now := y.clock.now()
	for len(y.asks) > 0 && !now.Before(y.asks[0]) {
		y.asks = y.asks[1:]
		set := y.memory.issuers[agentid.Organization{}].set
		state, alg := ActiveKey, jose.Algorithm("")
		switch y.random.IntN(8) {
		case 0, 1:
			alg = AccessTokenAlgorithms()[y.random.IntN(len(AccessTokenAlgorithms()))]
		case 2:
			state = Pending
		}
		victim, ok := set.find(AccessToken, state)
		revoke := y.random.IntN(4) == 0 && ok
		for {
			p, err := y.start(), error(nil)
			if revoke {
				err = p.Rotator().Revoke(y.t.Context(), operator, agentid.Organization{}, victim.ID)
			} else {
				err = p.Rotator().Rotate(y.t.Context(), operator, agentid.Organization{}, AccessToken, alg)
			}
			if err == nil {
				break
			}
			if y.ignoreKill(err) != nil {
				y.t.Fatal(err)
			}
		}
	}
	if len(y.asks) == 0 { // one to three times within the life of a cache, some days from now
		at := now.Add(time.Duration(y.random.Int64N(int64(20 * 24 * time.Hour))))
		for range 1 + y.random.IntN(3) {
			y.asks = append(y.asks, at)
			at = at.Add(time.Duration(y.random.Int64N(int64(y.cfg.Schedule.MaxAge))))
		}
	}
}

// wait moves the clock: days until something is about to happen, then in steps that become small before it is due and after it was done, when a cache that is a few
// seconds older or younger makes the difference.
func (y *years) wait() {
	const near, far = 75 * time.Second, 7 * time.Minute // more than clocks differ; more than caches live
	now := y.clock.now()
	left := y.asks[0].Sub(now)
	if due := y.memory.issuers[agentid.Organization{}].due.Sub(now); due < left {
		left = due
	}
	switch since := now.Sub(y.changed); {
	case left < near, since < near:
		y.clock.add(time.Duration(y.random.Int64N(int64(4 * time.Second))))
	case left < far, since < far:
		y.clock.add(time.Duration(y.random.Int64N(int64(30 * time.Second))))
	default:
		y.clock.add(left - far + time.Second)
	}
}

// Three years of rotations, planned, asked for and in an emergency, by three processes whose clocks differ by as much as they may, that hear of changes as late as
// allowed (or later), and of which one is killed at two of three changes, whoever asked for them. Verifiers keep key sets for as long as they may.
//
// What it catches, each tried: a lead that lacks any of its terms, or is none; an activation that does not wait for the lead; a tail that lacks any of its terms; a
// process that signs or publishes with knowledge older than ReloadMax; a successor that is not made before it is needed.
func TestYearsOfRotations(t *testing.T) {
	t.Parallel()
	for _, maxAge := range []time.Duration{usual.MaxAge, 10 * time.Second} { // with the shorter one nothing is to spare anywhere
		t.Run(maxAge.String(), func(t *testing.T) {
			t.Parallel()
			rotateForYears(t, Schedule{Period: PeriodDefault, MaxAge: maxAge})
		})
	}
}

func rotateForYears(t *testing.T, schedule Schedule) {
	const seed = 20260101
	y := &years{
		t: t, clock: newClock(), random: rand.New(rand.NewPCG(seed, 0)), memory: newMemory(), tokens: map[string]time.Time{},
		born: map[string]time.Time{}, early: map[string]time.Time{}, kills: map[string]int{}, signers: map[string]bool{}, revoked: map[string]bool{},
		cfg: Config{Sealer: newSealer(t), Schedule: schedule},
	}
	y.cfg.Generate = func(alg jose.Algorithm) (*jose.SigningKey, error) {
		if alg == jose.EdDSA {
			return jose.GenerateSigningKey(alg)
		}
		return quick(alg)
	}
	for range 3 {
		y.processes = append(y.processes, y.start())
	}
	end := y.clock.now().AddDate(3, 0, 0)
	for y.clock.now().Before(end) {
		y.live()
		if len(y.memory.issuers) == 0 {
			y.clock.add(time.Second)
			continue
		}
		y.operate()
		y.serve()
		y.wait()
	}
	for _, a := range []audit.Action{audit.KeyCreate, audit.KeyActivate, audit.KeyDestroy, audit.KeyRotate, audit.KeyRevoke} {
		for _, moment := range []string{"before", "after"} {
			if y.kills[moment+" "+string(a)] < 10 {
				t.Errorf("only %d kills %s %s", y.kills[moment+" "+string(a)], moment, a)
			}
		}
	}
	if len(y.signers) < 2*36 || y.met < 100_000 || y.waited < 20 || len(y.early) < 5 {
		t.Errorf("%d keys signed, %d times a token met a cache, %d activations waited, %d came early: this proves little", len(y.signers), y.met, y.waited, len(y.early))
	}
	t.Logf("%d keys signed, %d times a token met a cache, %d activations waited, kills %v, %d early", len(y.signers), y.met, y.waited, y.kills, len(y.early))
	for _, k := range y.memory.issuers[agentid.Organization{}].set.Keys {
		if k.State == Destroyed && len(k.Sealed) > 0 {
			t.Errorf("the private half of destroyed key %s is still there", k.ID)
		}
		if k.State == Retiring && y.clock.now().Sub(k.RetiredAt) > schedule.Tail()+time.Hour {
			t.Errorf("key %s retires since %s", k.ID, k.RetiredAt)
		}
	}
}
