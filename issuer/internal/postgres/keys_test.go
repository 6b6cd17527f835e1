package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

var sealerActor = audit.Actor{Kind: audit.KindSystem, ID: "issuer/seal"}

func newKEK(t *testing.T) *seal.KEK {
	t.Helper()
	document, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	kek, err := seal.ParseKEK(document)
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

// together makes instances look at the keys at the same moment, so that each believes it has to make the first.
type together struct {
	*postgres.Store
	once   sync.Once
	looked *sync.WaitGroup
}

func (s *together) SigningKeys(ctx context.Context) ([]keys.Stored, error) {
	list, err := s.Store.SigningKeys(ctx)
	s.once.Do(func() { s.looked.Done(); s.looked.Wait() })
	return list, err
}

// Four instances with nothing in common but the database and the key-encryption key start at once: one set of keys.
func TestFirstKeysAreMadeOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	kek := newKEK(t)
	const instances = 4
	rings := make([]*keys.Ring, instances)
	var group, looked sync.WaitGroup
	looked.Add(instances)
	for i := range instances {
		s, err := postgres.Open(t.Context(), postgres.Config{AppDSN: b.db.AppDSN, PlatformDSN: b.db.PlatformDSN, PoolWaitMax: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		group.Go(func() {
			var err error
			if rings[i], err = keys.Open(t.Context(), &together{Store: s, looked: &looked}, seal.New(kek, s.Keysets(sealerActor)), time.Now); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	for _, r := range rings[1:] {
		if string(r.KeySet().Document) != string(rings[0].KeySet().Document) {
			t.Error("two instances publish different keys")
		}
	}
	super := b.db.Superuser(t)
	count := func(sql string) int64 { return query[int64](t, super, sql)[0] }
	if n := count("select count(*) from signing_keys"); n != 2 {
		t.Errorf("%d signing keys, want one per use", n)
	}
	if n := count("select count(*) from keysets"); n != 1 {
		t.Errorf("%d keysets, want one", n)
	}
	if n := count("select count(*) from audit_logs where action in ('signing_key.create', 'keyset.create')"); n != 3 {
		t.Errorf("%d audit rows, want one per key and keyset", n)
	}
}

func TestSecondActiveKeyIsAConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key := keys.Stored{ID: "one", Use: keys.IDToken, Algorithm: "RS256", State: keys.ActiveKey, PublicJWK: []byte(`{"kty":"RSA"}`), Sealed: []byte("x"), CreatedAt: start, ActivatedAt: start}
	if err := b.CreateSigningKey(t.Context(), operator, key); err != nil {
		t.Fatal(err)
	}
	again := key
	again.ID = "two"
	wantProblem(t, "second active key", b.CreateSigningKey(t.Context(), operator, again), problem.Conflict, "active_key_exists")
	again.State, again.ActivatedAt = keys.Pending, time.Time{}
	if err := b.CreateSigningKey(t.Context(), operator, again); err != nil {
		t.Errorf("a pending key beside the active one: %v", err)
	}
	wantProblem(t, "the same key", b.CreateSigningKey(t.Context(), operator, again), problem.Conflict, "key_exists")
	got, err := b.SigningKeys(t.Context())
	if err != nil || len(got) != 2 || string(got[0].PublicJWK) != `{"kty":"RSA"}` || !got[0].ActivatedAt.Equal(start) || !got[1].ActivatedAt.IsZero() {
		t.Errorf("stored %+v, %v", got, err)
	}
	exec(t, b.db.Superuser(t), "update signing_keys set state = 'destroyed' where id = 'one'")
	if got, err := b.SigningKeys(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%d keys, %v; a destroyed one must not be returned", len(got), err)
	}
}

// What is sealed for one row opens for that row, with the keysets of the real tables, also when someone moves bytes between rows, columns or organizations.
func TestSealedValuesStayInTheirPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.newOrganization(t, "one").ID.String(), b.newOrganization(t, "two").ID.String()
	kek := newKEK(t)
	s := seal.New(kek, b.Keysets(sealerActor))
	place := seal.Place{Table: "webhooks", Column: "secret", Organization: one, Row: "1"}
	sealed, err := s.Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := seal.New(kek, b.Keysets(sealerActor)).Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
		t.Errorf("another instance: %q, %v", got, err)
	}
	for name, moved := range map[string]seal.Place{
		"table":        {Table: "partners", Column: "secret", Organization: one, Row: "1"},
		"column":       {Table: "webhooks", Column: "previous", Organization: one, Row: "1"},
		"row":          {Table: "webhooks", Column: "secret", Organization: one, Row: "2"},
		"organization": {Table: "webhooks", Column: "secret", Organization: two, Row: "1"},
		"instance":     {Table: "webhooks", Column: "secret", Organization: "", Row: "1"},
	} {
		if _, err := s.Seal(t.Context(), moved, nil); err != nil { // the scope has a key of its own
			t.Fatal(err)
		}
		if _, err := s.Open(t.Context(), moved, sealed); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("moved to another %s: %v, want ErrOpen", name, err)
		}
	}
	// The keyset of one organization copied over the other's: the whole scope refuses instead of sharing a key.
	exec(t, b.db.Superuser(t), "update keysets set wrapped = (select wrapped from keysets where org_id = $1) where org_id = $2", uuidOf(t, one), uuidOf(t, two))
	if _, err := seal.New(kek, b.Keysets(sealerActor)).Seal(t.Context(), seal.Place{Organization: two}, nil); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a copied keyset: %v, want ErrOpen", err)
	}
}

func uuidOf(t *testing.T, org string) string {
	t.Helper()
	id, err := agentid.Parse[agentid.Organization](org)
	if err != nil {
		t.Fatal(err)
	}
	return id.UUID().String()
}

func TestKeysetsRefuseWhatIsNoScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	k := b.Keysets(sealerActor)
	if _, err := k.Keyset(t.Context(), "acme"); err == nil || errors.Is(err, seal.ErrNoKeyset) || !strings.Contains(err.Error(), "organization id") {
		t.Errorf("Keyset = %v", err)
	}
	if err := k.CreateKeyset(t.Context(), "acme", seal.WrappedKeyset{}); err == nil {
		t.Error("CreateKeyset accepted a scope that is no organization id")
	}
	if _, err := k.Keyset(t.Context(), ""); !errors.Is(err, seal.ErrNoKeyset) {
		t.Errorf("Keyset = %v, want ErrNoKeyset", err)
	}
}
