package postgres_test

import (
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

func spiffe(id string) credentials.Registration { return credentials.Registration{SPIFFEID: id} }

func TestRegistrationIsReadBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	first, err := w.agents.RegisterCredential(t.Context(), operator, w.agent.ID, credentials.KindSPIFFEJWT, spiffe("spiffe://example.org/payer"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	next, err := w.agents.ReplaceCredential(t.Context(), operator, w.agent.ID, first.ID, credentials.KindSPIFFEJWT, spiffe("spiffe://example.org/payer2"), time.Minute)
	if err != nil || !next.ExpiresAt.Equal(start.Add(time.Hour)) {
		t.Fatalf("%+v, %v: the successor lives as long as the first was made for", next, err)
	}
	list, err := w.agents.Credentials(t.Context(), w.agent.ID)
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	if list[1].Registration.SPIFFEID != "spiffe://example.org/payer" || !list[1].ExpiresAt.Equal(start.Add(time.Minute)) || list[2].Registration.SPIFFEID != "spiffe://example.org/payer2" {
		t.Errorf("%+v", list)
	}
	_, registered, err := w.ClientForAuthentication(t.Context(), w.agent.ID, start)
	if err != nil || len(registered) != 3 {
		t.Fatal(registered, err)
	}
	if r := registered[2]; r.Credential != next.ID || r.Kind != credentials.KindSPIFFEJWT || len(r.Hash) != 0 || r.Registration.SPIFFEID != "spiffe://example.org/payer2" {
		t.Errorf("%+v", r)
	}
	if registered[0].Kind != credentials.KindClientSecret || len(registered[0].Hash) != sha256.Size {
		t.Errorf("%+v", registered[0])
	}
}

// Two of each kind: the kinds do not take each other's places.
func TestAtMostTwoOfAKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	for _, kind := range []string{credentials.KindSPIFFEJWT, credentials.KindSPIFFEX509} {
		for range credentials.PerKindMax {
			if _, err := w.agents.RegisterCredential(t.Context(), operator, w.agent.ID, kind, spiffe("spiffe://example.org/payer"), 0); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.agents.RegisterCredential(t.Context(), operator, w.agent.ID, kind, spiffe("spiffe://example.org/payer"), 0)
		wantProblem(t, kind, err, problem.Conflict, "too_many_credentials")
	}
}

func TestSuccessorIsOfTheSameKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	_, err := w.agents.ReplaceCredential(t.Context(), operator, w.agent.ID, w.credential.ID, credentials.KindSPIFFEX509, spiffe("spiffe://example.org/payer"), 0)
	wantProblem(t, "another kind", err, problem.Conflict, "credential_kind")
	list, err := w.agents.Credentials(t.Context(), w.agent.ID)
	if err != nil || len(list) != 1 || !list[0].ExpiresAt.Equal(start.Add(time.Hour)) {
		t.Errorf("what was refused has changed something: %+v, %v", list, err)
	}
}

// The database itself keeps hash and registration apart.
func TestRowHasHashOrRegistration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super := w.db.Superuser(t)
	for name, set := range map[string]string{
		"secret without hash":         "secret_hash = null",
		"secret with a registration":  `registration = '{}'`,
		"registration without itself": "kind = 'spiffe_jwt', secret_hash = null",
		"registration and hash":       `kind = 'spiffe_jwt', registration = '{}'`,
		"unknown kind":                `kind = 'password', registration = '{}', secret_hash = null`,
		"empty hash":                  `secret_hash = ''`,
	} {
		if _, err := super.Exec(t.Context(), "update agentidp.credentials set "+set); err == nil {
			t.Errorf("%s: stored", name)
		}
	}
}

// Of any number that use the same at once, one does.
func TestUsedUpOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	use := issuance.SingleUse{Purpose: issuance.UseClientAssertion, Key: sha256.Sum256([]byte("one")), ExpiresAt: start.Add(time.Minute)}
	var group sync.WaitGroup
	results := make(chan error, 16)
	for range cap(results) {
		group.Go(func() { results <- w.UseUp(t.Context(), w.org.ID, use) })
	}
	group.Wait()
	close(results)
	done := 0
	for err := range results {
		if _, used := issuance.AsUsed(err); err == nil {
			done++
		} else if !used {
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d used it", done)
	}
	if err := w.UseUp(t.Context(), w.empty.ID, use); err != nil {
		t.Errorf("another organization's use stands in the way: %v", err)
	}
	other := use
	other.Purpose = issuance.UseProof
	if err := w.UseUp(t.Context(), w.org.ID, other); err != nil {
		t.Errorf("another purpose's use stands in the way: %v", err)
	}
	// What would be refused for its age is forgotten by whoever comes next.
	w.clock.Advance(time.Hour)
	later := issuance.SingleUse{Purpose: issuance.UseClientAssertion, Key: sha256.Sum256([]byte("two")), ExpiresAt: start.Add(2 * time.Hour)}
	if err := w.UseUp(t.Context(), w.org.ID, later); err != nil {
		t.Fatal(err)
	}
	if n := query[int64](t, w.db.Superuser(t), "select count(*) from agentidp.single_uses where org_id = $1", w.org.ID.UUID())[0]; n != 1 {
		t.Errorf("%d uses are kept, want the new one", n)
	}
}
