package seal

import (
	"errors"
	"testing"
)

// A key-encryption key is rotated: what is sealed stays, and after the rewrapping the old key is not needed any more.
func TestRotatedKEK(t *testing.T) {
	t.Parallel()
	first, err := GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := RotateKEK(first)
	if err != nil {
		t.Fatal(err)
	}
	parse := func(document []byte) *KEK {
		w, err := ParseWrapper(document)
		if err != nil {
			t.Fatal(err)
		}
		return NewKEK(w)
	}
	store, place := newMemory(), Place{Table: "t", Column: "c", Organization: "org_1", Row: "1"}
	sealed, err := New(parse(first), store).Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	opens := func(kek *KEK) error {
		got, err := New(kek, store).Open(t.Context(), place, sealed)
		if err == nil && string(got) != "secret" {
			t.Errorf("opened %q", got)
		}
		return err
	}
	if err := opens(parse(rotated)); err != nil {
		t.Fatalf("after the rotation: %v", err)
	}
	for i, want := range []bool{true, false} {
		if changed, err := New(parse(rotated), store).Rewrap(t.Context(), "org_1"); err != nil || changed != want {
			t.Errorf("rewrapping, time %d: %v, %v", i+1, changed, err)
		}
	}
	if err := opens(parse(rotated)); err != nil {
		t.Errorf("after the rewrapping: %v", err)
	}
	if err := opens(parse(first)); !errors.Is(err, ErrOpen) {
		t.Errorf("the key before opens what was rewrapped: %v", err)
	}
	if changed, err := New(parse(rotated), store).Rewrap(t.Context(), "org_2"); err != nil || changed {
		t.Errorf("a scope without a data key: %v, %v", changed, err)
	}
	if _, err := RotateKEK([]byte("{}")); err == nil {
		t.Error("something else is rotated")
	}
}

// From one place to another, say from a file to a key management service: both are configured until everything is rewrapped.
func TestKEKMovesToAnotherPlace(t *testing.T) {
	t.Parallel()
	file := func() Wrapper {
		document, err := GenerateKEK()
		if err != nil {
			t.Fatal(err)
		}
		w, err := ParseWrapper(document)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	old, next := file(), file()
	store, place := newMemory(), Place{Table: "t", Column: "c", Row: "1"}
	sealed, err := New(NewKEK(old), store).Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(NewKEK(next), store).Open(t.Context(), place, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("without the old key: %v", err)
	}
	if changed, err := New(NewKEK(next, old), store).Rewrap(t.Context(), ""); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	if got, err := New(NewKEK(next), store).Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	// The name of a key in the database is not believed.
	forged := store.wrapped[""]
	forged.KEKID, err = old.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store.wrapped[""] = forged
	if _, err := New(NewKEK(next, old), store).Open(t.Context(), place, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("a forged key id: %v", err)
	}
}
