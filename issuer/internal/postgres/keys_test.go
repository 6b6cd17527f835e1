package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

var sealerActor = audit.Actor{Kind: audit.KindSystem, ID: "issuer/seal"}

func newKEK(t *testing.T) *seal.KEK {
	t.Helper()
	document, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	w, err := seal.ParseWrapper(document)
	if err != nil {
		t.Fatal(err)
	}
	return seal.NewKEK(w)
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
