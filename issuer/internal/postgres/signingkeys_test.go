package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

var schedule = keys.Schedule{Period: 24 * time.Hour, MaxAge: 5 * time.Minute}

// quickKey makes every key an ES256 one.
func quickKey(jose.Algorithm) (*jose.SigningKey, error) { return jose.GenerateSigningKey(jose.ES256) }

// process is what one more issuer process has: a store of its own on the same database.
func (b *bundle) process(t *testing.T) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Config{AppDSN: b.db.AppDSN, PlatformDSN: b.db.PlatformDSN, Now: b.clock.Now, PoolWaitMax: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (b *bundle) rings(t *testing.T, kek *seal.KEK, store keys.Store, keysets *postgres.Store) *keys.Rings {
	t.Helper()
	rings, err := keys.NewRings(keys.Config{
		Store: store, Sealer: seal.New(kek, keysets.Keysets(sealerActor)), Schedule: schedule, Now: b.clock.Now, Generate: quickKey,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return rings
}

// together makes instances look at the keys at the same moment, so that each believes it has to make the first.
type together struct {
	*postgres.Store
	once   sync.Once
	looked *sync.WaitGroup
}

func (s *together) SigningKeys(ctx context.Context, org agentid.Organization) (keys.Set, error) {
	set, err := s.Store.SigningKeys(ctx, org)
	s.once.Do(func() { s.looked.Done(); s.looked.Wait() })
	return set, err
}

// Four processes with nothing in common but the database and the key-encryption key start at once: one set of keys, of the instance and of an organization.
func TestFirstKeysAreMadeOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kek := newKEK(t)
	for name, org := range map[string]agentid.Organization{"instance": {}, "organization": b.newOrganization(t, "acme").ID} {
		const processes = 4
		documents := make([]string, processes)
		var group, looked sync.WaitGroup
		looked.Add(processes)
		for i := range processes {
			s := b.process(t)
			rings := b.rings(t, kek, &together{Store: s, looked: &looked}, s)
			group.Go(func() {
				ring, err := rings.Of(t.Context(), org)
				if err != nil {
					t.Error(err)
					return
				}
				documents[i] = string(ring.KeySet().Document)
			})
		}
		group.Wait()
		for _, d := range documents[1:] {
			if d != documents[0] || d == "" {
				t.Errorf("%s: two processes publish different keys", name)
			}
		}
		super := b.db.Superuser(t)
		for what, want := range map[string]int64{"signing_keys": 2, "keysets": 1} {
			if n := query[int64](t, super, "select count(*) from "+what+" where org_id = $1", org.UUID())[0]; n != want {
				t.Errorf("%s: %d %s, want %d", name, n, what, want)
			}
		}
		if n := query[int64](t, super, "select count(*) from audit_logs where org_id = $1 and action in ('signing_key.create', 'keyset.create')", org.UUID())[0]; n != 3 {
			t.Errorf("%s: %d audit rows, want one per key and keyset", name, n)
		}
	}
}

var errKilled = errors.New("killed")

// killed dies at one change: before it is committed, or right after.
type killed struct {
	*postgres.Store
	before bool
	dead   bool
}

func (k *killed) ChangeSigningKeys(ctx context.Context, actor audit.Actor, org agentid.Organization, c keys.Change) error {
	if k.dead {
		return errKilled
	}
	k.dead = true
	if k.before {
		return errKilled
	}
	if err := k.Store.ChangeSigningKeys(ctx, actor, org, c); err != nil {
		return err
	}
	return errKilled
}

// Cycles of rotation in which a process is killed at each change, before its commit and after it, and another process goes on. What a witness signed and fetched
// before stays good.
func TestRotationsSurviveKills(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kek := newKEK(t)
	org := b.newOrganization(t, "acme").ID
	witness := b.rings(t, kek, b.Store, b.Store)
	super := b.db.Superuser(t)
	for _, issuer := range []agentid.Organization{{}, org} {
		ring, err := witness.Of(t.Context(), issuer)
		if err != nil {
			t.Fatal(err)
		}
		signers, kills := map[string]bool{}, 0
		signed, fetched := "", keys.Published{}
		for day := range 4 {
			for _, moment := range []time.Duration{schedule.Period - schedule.Tail(), schedule.Tail()} {
				b.clock.Advance(moment)
				for n := 0; ; n++ {
					dying := &killed{Store: b.Store, before: n%2 == 0}
					if _, err := b.rings(t, kek, dying, b.Store).Rotator().Advance(t.Context(), issuer); err == nil {
						break
					} else if !errors.Is(err, errKilled) || n > 20 {
						t.Fatal(err)
					}
					kills++
					if n := query[int64](t, super, "select count(*) from signing_keys where org_id = $1 and state = 'active'", issuer.UUID())[0]; n != 2 {
						t.Fatalf("%d active keys after a kill", n)
					}
				}
				if err := witness.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				now := ring.KeySet()
				if _, ok := now.Keys.Lookup(signed); signed != "" && moment == schedule.Tail() && !ok {
					t.Errorf("day %d: a token signed right before is not verified by what is published", day)
				}
				key, err := ring.Signer(keys.AccessToken)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := fetched.Keys.Lookup(key.ID()); fetched.Keys != nil && !ok && day > 0 {
					t.Errorf("day %d: %s signs, and who fetched the keys before does not know it", day, key.ID())
				}
				signed, fetched = key.ID(), now
				signers[signed] = true
			}
		}
		if len(signers) < 4 || kills < 20 {
			t.Errorf("%d keys signed, %d kills: this proves little", len(signers), kills)
		}
		if n := query[int64](t, super, `select count(*) from signing_keys k where org_id = $1 and
			not exists (select from audit_logs a where a.org_id = $1 and a.action = 'signing_key.create' and a.target = k.id)`, issuer.UUID())[0]; n != 0 {
			t.Errorf("%d keys were made without an audit row", n)
		}
	}
}

// Every process hears of what another one did.
func TestProcessesFollowEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kek := newKEK(t)
	one, other := b.rings(t, kek, b.Store, b.Store), b.rings(t, kek, b.process(t), b.Store)
	org := b.newOrganization(t, "acme").ID
	for _, issuer := range []agentid.Organization{{}, org} {
		ring, err := other.Of(t.Context(), issuer)
		if err != nil {
			t.Fatal(err)
		}
		before, err := ring.Signer(keys.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Rotator().Revoke(t.Context(), operator, issuer, before.ID()); err != nil {
			t.Fatal(err)
		}
		if err := other.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		after, err := ring.Signer(keys.AccessToken)
		if err != nil || after.ID() == before.ID() {
			t.Errorf("%v: the revoked key signs", err)
		}
		if _, ok := ring.KeySet().Keys.Lookup(before.ID()); ok {
			t.Error("the revoked key is published")
		}
	}
}

func TestRevokedKeysAreOnTheList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org, other := b.newOrganization(t, "acme").ID, b.newOrganization(t, "other").ID
	list := func(org agentid.Organization) *trust.RevocationList {
		l, err := b.RevocationList(t.Context(), issuer, org)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	sequence := list(agentid.Organization{}).Sequence
	for _, who := range []agentid.Organization{{}, org} {
		kid := "key of " + who.String()
		if err := b.ChangeSigningKeys(t.Context(), operator, who, firstKey(kid, start)); err != nil {
			t.Fatal(err)
		}
		set, err := b.SigningKeys(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.ChangeSigningKeys(t.Context(), operator, who, keys.Change{
			Action: audit.KeyRevoke, Target: kid, Revision: set.Revision, DueAt: start,
			Moves: []keys.Move{{ID: kid, From: keys.ActiveKey, To: keys.Destroyed, Revoked: true, At: start}},
		}); err != nil {
			t.Fatal(err)
		}
		l := list(agentid.Organization{})
		if l.Sequence <= sequence || trust.Index(l).Check(&trust.Facts{KeyID: kid}) != trust.RevokedKey {
			t.Errorf("%s is not on the list, or the list has no new number: %+v", kid, l)
		}
		sequence = l.Sequence
	}
	if l := list(org); len(l.Keys) != 1 || l.Keys[0].ID != "key of "+org.String() {
		t.Errorf("the organization's list: %+v", l.Keys)
	}
	if l := list(other); len(l.Keys) != 0 || l.Sequence != sequence {
		t.Errorf("another organization's list: %+v", l)
	}
	exec(t, b.db.Superuser(t), "update revoked_signing_keys set revoked_at = revoked_at - interval '25 hours', id = id || ' of long ago'")
	b.clock.Advance(time.Since(b.clock.Now())) // the trigger took the server's clock
	if l := list(agentid.Organization{}); len(l.Keys) != 0 {
		t.Errorf("still there after a day: %+v", l.Keys)
	}
}

func TestChangesOfKeysExcludeEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.newOrganization(t, "acme").ID
	if err := b.ChangeSigningKeys(t.Context(), operator, org, firstKey("one", start)); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "first keys again", b.ChangeSigningKeys(t.Context(), operator, org, firstKey("two", start)), problem.Conflict, "signing_keys_changing")
	set, err := b.SigningKeys(t.Context(), org)
	if err != nil || len(set.Keys) != 1 || string(set.Keys[0].Sealed) != "sealed one" || !set.Keys[0].ActivatedAt.Equal(start) || !set.Keys[0].RetiredAt.IsZero() {
		t.Fatalf("%+v, %v", set, err)
	}
	second := firstKey("two", start)
	second.Revision = set.Revision
	wantProblem(t, "a second active key", b.ChangeSigningKeys(t.Context(), operator, org, second), problem.Conflict, "active_key_exists")
	second.Moves = []keys.Move{{ID: "one", From: keys.Pending, To: keys.Destroyed, At: start}}
	wantProblem(t, "a move from another state", b.ChangeSigningKeys(t.Context(), operator, org, second), problem.Conflict, "signing_keys_changing")
	second.Moves[0].From = keys.ActiveKey
	second.Algorithm = jose.EdDSA
	if err := b.ChangeSigningKeys(t.Context(), operator, org, second); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "the same change again", b.ChangeSigningKeys(t.Context(), operator, org, second), problem.Conflict, "signing_keys_changing")
	if left := query[int64](t, b.db.Superuser(t), "select length(sealed) from signing_keys where id = 'one'"); left[0] != 0 {
		t.Error("the private half of a destroyed key is still there")
	}
	after, err := b.SigningKeys(t.Context(), org)
	if err != nil || len(after.Keys) != 1 || after.Keys[0].ID != "two" || after.Algorithm != jose.EdDSA || after.Revision <= set.Revision {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestDueAndLeading(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.newOrganization(t, "acme").ID
	gone := b.newOrganization(t, "gone").ID
	for _, who := range []agentid.Organization{{}, org, gone} {
		if err := b.ChangeSigningKeys(t.Context(), operator, who, firstKey("key", start)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.orgs.Delete(t.Context(), operator, gone, 0); err != nil {
		t.Fatal(err)
	}
	if set, err := b.SigningKeys(t.Context(), gone); err != nil || set.Revision != 0 {
		t.Errorf("the keys of a deleted organization: %+v, %v", set, err)
	}
	due := func(at time.Time, after agentid.Organization) []agentid.Organization {
		found, err := b.DueSigningKeys(t.Context(), at, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := due(start, agentid.Organization{}); len(got) != 2 || !got[0].IsZero() || got[1] != org {
		t.Errorf("due: %v", got)
	}
	if got := due(start, org); len(got) != 0 {
		t.Errorf("behind the last: %v", got)
	}
	if got := due(start.Add(-1*time.Second), agentid.Organization{}); len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	set, err := b.SigningKeys(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	for revision, want := range map[int64]int{set.Revision + 1: 2, set.Revision: 1} {
		if err := b.PostponeSigningKeys(t.Context(), org, revision, start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if revision == set.Revision {
			if got := due(start, agentid.Organization{}); len(got) != want {
				t.Errorf("postponed: %v", got)
			}
		}
	}
	lead := func(who string, now time.Time) bool {
		leads, err := b.LeadSigningSchedule(t.Context(), who, now, now.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return leads
	}
	for i, step := range []struct {
		who  string
		at   time.Duration
		want bool
	}{{"a", 0, true}, {"b", 0, false}, {"a", 30 * time.Second, true}, {"b", 89 * time.Second, false}, {"b", 90 * time.Second, true}, {"a", 91 * time.Second, false}} {
		if got := lead(step.who, start.Add(step.at)); got != step.want {
			t.Errorf("step %d: %s leads %v", i, step.who, got)
		}
	}
	newest, changed, err := b.ChangedSigningKeys(t.Context(), 0)
	if err != nil || len(changed) != 2 || changed[1].Number > newest {
		t.Errorf("changed: %v, %d, %v", changed, newest, err)
	}
	if _, changed, err := b.ChangedSigningKeys(t.Context(), newest); err != nil || len(changed) != 0 {
		t.Errorf("nothing has changed: %v, %v", changed, err)
	}
}

// An issuer that was installed before keys had a life goes on with the key it has.
func TestKeysOfOlderIssuersGoOn(t *testing.T) {
	t.Parallel()
	pgtest.New(t) // the roles exist
	const before = 11
	db, kek, c := pgtest.NewEmpty(t), newKEK(t), &clock{at: start}
	if err := postgres.MigrateTo(t.Context(), db.OwnerDSN, before); err != nil {
		t.Fatal(err)
	}
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	private, err := key.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	super := db.Superuser(t)
	keep := keysetOf{}
	sealed, err := seal.New(kek, keep).Seal(t.Context(), seal.Place{Table: "signing_keys", Column: "sealed", Row: key.ID()}, private)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, super, "insert into keysets (org_id, wrapped, kek_id, created_at) values ($1, $2, $3, $4)", agentid.Organization{}.UUID(), keep[""].Bytes, keep[""].KEKID, start)
	exec(t, super, "insert into signing_keys (id, use, algorithm, state, public_jwk, sealed, created_at, activated_at) values ($1, 'access_token', 'ES256', 'active', $2, $3, $4, $4)",
		key.ID(), key.PublicJWK(), sealed, start)
	if err := postgres.Migrate(t.Context(), db.OwnerDSN, nil); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), postgres.Config{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN, Now: c.Now, PoolWaitMax: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	b := &bundle{Store: s, db: db, clock: c}
	ring, err := b.rings(t, kek, s, s).Of(t.Context(), agentid.Organization{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring.Signer(keys.AccessToken); err != nil || got.ID() != key.ID() {
		t.Errorf("another key signs: %v", err)
	}
}

// keysetOf is seal.Keysets in a map.
type keysetOf map[string]seal.WrappedKeyset

func (k keysetOf) Keyset(_ context.Context, scope string) (seal.WrappedKeyset, error) {
	if w, ok := k[scope]; ok {
		return w, nil
	}
	return seal.WrappedKeyset{}, seal.ErrNoKeyset
}

func (k keysetOf) CreateKeyset(_ context.Context, scope string, w seal.WrappedKeyset) error {
	k[scope] = w
	return nil
}

func (k keysetOf) ReplaceKeyset(context.Context, string, seal.WrappedKeyset, seal.WrappedKeyset) error {
	return nil
}
