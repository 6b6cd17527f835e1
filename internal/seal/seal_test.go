package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// memory is Keysets in a map, with the first writer of a scope winning.
type memory struct {
	mu       sync.Mutex
	wrapped  map[string]WrappedKeyset
	creates  int
	reads    int
	failWith error
}

func newMemory() *memory { return &memory{wrapped: make(map[string]WrappedKeyset)} }

func (m *memory) Keyset(_ context.Context, scope string) (WrappedKeyset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.failWith != nil {
		return WrappedKeyset{}, m.failWith
	}
	w, ok := m.wrapped[scope]
	if !ok {
		return WrappedKeyset{}, ErrNoKeyset
	}
	return w, nil
}

func (m *memory) CreateKeyset(_ context.Context, scope string, w WrappedKeyset) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.creates++
	if _, ok := m.wrapped[scope]; ok {
		return ErrKeysetExists
	}
	m.wrapped[scope] = w
	return nil
}

func (m *memory) ReplaceKeyset(_ context.Context, scope string, old, next WrappedKeyset) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !bytes.Equal(m.wrapped[scope].Bytes, old.Bytes) {
		return ErrKeysetExists
	}
	m.wrapped[scope] = next
	return nil
}

func newKEK(t *testing.T) *KEK {
	t.Helper()
	document, err := GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseWrapper(document)
	if err != nil {
		t.Fatal(err)
	}
	return NewKEK(w)
}

var here = Place{Table: "signing_keys", Column: "sealed", Organization: "org_a", Row: "row-1"}

func TestSealedValueOpensInItsPlaceOnly(t *testing.T) {
	t.Parallel()
	s := New(newKEK(t), newMemory())
	secret := []byte("a private key")
	sealed, err := s.Seal(t.Context(), here, secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, secret) {
		t.Fatal("the ciphertext holds the plaintext")
	}
	got, err := s.Open(t.Context(), here, sealed)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("Open = %q, %v", got, err)
	}
	// The other organization has a data key of its own, so the scope and not a missing key is what refuses.
	if _, err := s.Seal(t.Context(), Place{Organization: "org_b"}, secret); err != nil {
		t.Fatal(err)
	}
	for name, place := range map[string]Place{
		"another table":        {"webhooks", here.Column, here.Organization, here.Row},
		"another column":       {here.Table, "previous", here.Organization, here.Row},
		"another organization": {here.Table, here.Column, "org_b", here.Row},
		"another row":          {here.Table, here.Column, here.Organization, "row-2"},
		"shifted boundary":     {here.Table + "sealed", "", here.Organization, here.Row},
		"merged parts":         {here.Table, here.Column, here.Organization, ""},
	} {
		if _, err := s.Open(t.Context(), place, sealed); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: Open = %v, want ErrOpen", name, err)
		}
	}
}

func TestPartsOfAPlaceCannotRunIntoEachOther(t *testing.T) {
	t.Parallel()
	a := Place{Table: "ab", Column: "c", Organization: "org_a", Row: "1"}
	b := Place{Table: "a", Column: "bc", Organization: "org_a", Row: "1"}
	if bytes.Equal(a.associatedData(), b.associatedData()) {
		t.Fatal("two places have the same associated data")
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	t.Parallel()
	s := New(newKEK(t), newMemory())
	sealed, err := s.Seal(t.Context(), here, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := s.Open(t.Context(), here, bad); !errors.Is(err, ErrOpen) {
			t.Fatalf("bit %d: Open = %v, want ErrOpen", i, err)
		}
	}
	for n := range len(sealed) {
		if _, err := s.Open(t.Context(), here, sealed[:n]); !errors.Is(err, ErrOpen) {
			t.Fatalf("%d bytes: Open = %v, want ErrOpen", n, err)
		}
	}
}

func TestAnotherInstanceOpens(t *testing.T) {
	t.Parallel()
	kek, store := newKEK(t), newMemory()
	sealed, err := New(kek, store).Seal(t.Context(), here, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(kek, store).Open(t.Context(), here, sealed); err != nil {
		t.Errorf("with the same key: %v", err)
	}
	if _, err := New(newKEK(t), store).Open(t.Context(), here, sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("with another key-encryption key: %v, want ErrOpen", err)
	}
}

func TestWrappedKeysetMovedToAnotherScopeDoesNotUnwrap(t *testing.T) {
	t.Parallel()
	kek, store := newKEK(t), newMemory()
	if _, err := New(kek, store).Seal(t.Context(), here, []byte("x")); err != nil {
		t.Fatal(err)
	}
	store.wrapped["org_b"] = store.wrapped["org_a"]
	if _, err := New(kek, store).Seal(t.Context(), Place{Organization: "org_b"}, []byte("x")); !errors.Is(err, ErrOpen) {
		t.Errorf("Seal with a stolen keyset = %v, want ErrOpen", err)
	}
}

func TestOpenNeverCreatesAKey(t *testing.T) {
	t.Parallel()
	store := newMemory()
	if _, err := New(newKEK(t), store).Open(t.Context(), here, []byte("x")); !errors.Is(err, ErrNoKeyset) {
		t.Errorf("Open = %v, want ErrNoKeyset", err)
	}
	if store.creates != 0 {
		t.Error("Open created a keyset")
	}
}

func TestStoreTroubleIsNotTakenForAMissingKey(t *testing.T) {
	t.Parallel()
	store := newMemory()
	store.failWith = errors.New("connection refused")
	if _, err := New(newKEK(t), store).Seal(t.Context(), here, []byte("x")); !errors.Is(err, store.failWith) {
		t.Errorf("Seal = %v, want the store's error", err)
	}
	if store.creates != 0 {
		t.Error("a keyset was created while the store could not say whether there is one")
	}
}

// Instances that start together must end up with one data key: what each sealed, every other opens.
func TestConcurrentFirstUse(t *testing.T) {
	t.Parallel()
	kek, store := newKEK(t), newMemory()
	const instances = 8
	sealed := make([][]byte, instances)
	var group sync.WaitGroup
	for i := range instances {
		group.Go(func() {
			var err error
			if sealed[i], err = New(kek, store).Seal(t.Context(), here, []byte(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	reader := New(kek, store)
	for i := range instances {
		if got, err := reader.Open(t.Context(), here, sealed[i]); err != nil || string(got) != fmt.Sprint(i) {
			t.Errorf("instance %d: Open = %q, %v", i, got, err)
		}
	}
}

func TestDataKeysAreCachedWithinBounds(t *testing.T) {
	t.Parallel()
	store := newMemory()
	s := New(newKEK(t), store)
	for range 10 {
		if _, err := s.Seal(t.Context(), here, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if store.reads != 1 {
		t.Errorf("%d reads for one scope, want 1", store.reads)
	}
	dek := s.cached[here.Organization]
	for i := range scopesCachedMax {
		s.cached[fmt.Sprint(i)] = dek
	}
	if _, err := s.Seal(t.Context(), Place{Organization: "one more"}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if len(s.cached) > scopesCachedMax {
		t.Errorf("%d scopes cached, at most %d", len(s.cached), scopesCachedMax)
	}
}

func TestParseWrapperRefuses(t *testing.T) {
	t.Parallel()
	document, err := GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	const canary = "hunter2hunter2hunter2hunter2hunt"
	for name, doc := range map[string][]byte{
		"empty":     {},
		"text":      []byte(canary),
		"truncated": document[:len(document)/2],
		"no keys":   []byte(`{"primaryKeyId":1,"key":[]}`),
		"wrong key": []byte(`{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"` + canary + `","value":"AA==","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`),
	} {
		if _, err := ParseWrapper(doc); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error holds bytes of the document: %v", name, err)
		}
	}
}

func TestKEKDoesNotPrint(t *testing.T) {
	t.Parallel()
	kek := newKEK(t)
	current, err := kek.primary.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := "[key-encryption key " + current + "]"
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, kek); got != want {
			t.Errorf("%s prints %q, want %q", format, got, want)
		}
	}
}
