package kms

import (
	"testing"

	"github.com/agentidp/agentidp/internal/seal"
)

// From any place to any other: both are configured until everything is rewrapped, and what was sealed stays as it is.
func TestKEKMovesBetweenServices(t *testing.T) {
	t.Parallel()
	document, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	file, err := seal.ParseWrapper(document)
	if err != nil {
		t.Fatal(err)
	}
	vault, _ := newVault(t)
	aws, _, _ := newAWS(t)
	gcp, _, _ := newGCP(t)
	store, place := keysets{}, seal.Place{Table: "t", Column: "c", Organization: "org_1", Row: "1"}
	sealed, err := seal.New(seal.NewKEK(file), store).Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	old := file
	for _, next := range []seal.Wrapper{aws, vault, gcp, aws, file} {
		if got, err := seal.New(seal.NewKEK(next, old), store).Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
			t.Errorf("from %s to %s, before: %q, %v", old, next, got, err)
		}
		for i, want := range []bool{true, false} {
			if changed, err := seal.New(seal.NewKEK(next, old), store).Rewrap(t.Context(), "org_1"); err != nil || changed != want {
				t.Errorf("from %s to %s, time %d: %v, %v", old, next, i+1, changed, err)
			}
		}
		if id := store["org_1"].KEKID; !next.Owns(id) || old.Owns(id) {
			t.Errorf("from %s to %s: %s", old, next, id)
		}
		if got, err := seal.New(seal.NewKEK(next), store).Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
			t.Errorf("from %s to %s, after: %q, %v", old, next, got, err)
		}
		old = next
	}
}
