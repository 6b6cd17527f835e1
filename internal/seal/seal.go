// Package seal is envelope encryption at rest: a data key per organization (a Tink AES-256-GCM keyset), wrapped by a key-encryption key.
//
//	KEK (a file, or a Wrapper) ──wraps──► keyset of a scope, in the database ──encrypts──► a secret in one Place
//
// A stolen database is unreadable without the KEK. A ciphertext is bound to its Place (table, column, organization, row), so one moved
// elsewhere by someone who can write to the database does not open. The package has no clock, files or network: it is given bytes.
package seal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// Place is where a sealed value is stored. It is the associated data of its ciphertext. Organization is "" for what belongs to the instance;
// it is also the scope whose data key is used.
type Place struct{ Table, Column, Organization, Row string }

// placeVersion opens the associated data; another layout gets another version.
const placeVersion = "agentidp-place-v1"

// associatedData is unambiguous: every part is preceded by its length, so ("ab","c") and ("a","bc") differ.
func (p Place) associatedData() []byte {
	return lengthPrefixed(placeVersion, p.Table, p.Column, p.Organization, p.Row)
}

func lengthPrefixed(parts ...string) []byte {
	var b []byte
	for _, s := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}

// WrappedKeyset is a data keyset under the KEK, as it is stored.
type WrappedKeyset struct {
	Bytes []byte
	KEKID string // which key of the KEK wrapped it; tells an operator how far a KEK rotation is
}

var (
	// ErrNoKeyset is returned by Keysets.Keyset when the scope has none yet.
	ErrNoKeyset = errors.New("no keyset for this scope")
	// ErrKeysetExists is returned by Keysets.CreateKeyset when another instance made the first keyset of the scope.
	ErrKeysetExists = errors.New("the scope has a keyset already")
	// ErrOpen is every ciphertext that does not open: tampered with, moved from another place, or sealed under another key.
	ErrOpen = errors.New("sealed value does not open in this place")
)

// Keysets stores wrapped keysets by scope ("" is the instance, else an organization id). Implementations are safe for concurrent use, and
// CreateKeyset lets exactly one caller win: when it returns nil the keyset is durable, and every later Keyset returns it.
type Keysets interface {
	Keyset(ctx context.Context, scope string) (WrappedKeyset, error)
	CreateKeyset(ctx context.Context, scope string, w WrappedKeyset) error
	// ReplaceKeyset stores next in place of old. ErrKeysetExists when the scope has another keyset than old by now.
	ReplaceKeyset(ctx context.Context, scope string, old, next WrappedKeyset) error
}

// scopesCachedMax bounds the unwrapped keysets held in memory; unwrapping costs microseconds, the query before it a millisecond.
const scopesCachedMax = 4096

// Sealer encrypts and decrypts. It is safe for concurrent use.
type Sealer struct {
	kek     *KEK
	keysets Keysets

	mu     sync.Mutex // guards cached; never held across a call to keysets
	cached map[string]tink.AEAD
}

// New returns a Sealer that keeps its data keys in keysets.
func New(kek *KEK, keysets Keysets) *Sealer {
	return &Sealer{kek: kek, keysets: keysets, cached: make(map[string]tink.AEAD)}
}

// Seal encrypts plaintext for one place. The first use of a scope creates its data key.
func (s *Sealer) Seal(ctx context.Context, place Place, plaintext []byte) ([]byte, error) {
	dek, err := s.dataKey(ctx, place.Organization, true)
	if err != nil {
		return nil, err
	}
	return dek.Encrypt(plaintext, place.associatedData())
}

// Open decrypts what Seal made for the same place; anything else is ErrOpen.
func (s *Sealer) Open(ctx context.Context, place Place, ciphertext []byte) ([]byte, error) {
	dek, err := s.dataKey(ctx, place.Organization, false)
	if err != nil {
		return nil, err
	}
	plaintext, err := dek.Decrypt(ciphertext, place.associatedData())
	if err != nil {
		return nil, fmt.Errorf("%s.%s: %w", place.Table, place.Column, ErrOpen)
	}
	return plaintext, nil
}

// Rewrap wraps a scope's data key with the key that the KEK uses now, and reports whether that was necessary. The data key stays the same: nothing that it sealed changes, and
// processes that have it go on.
func (s *Sealer) Rewrap(ctx context.Context, scope string) (bool, error) {
	old, err := s.keysets.Keyset(ctx, scope)
	if errors.Is(err, ErrNoKeyset) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	current, err := s.kek.primary.Current(ctx)
	if err != nil || old.KEKID == current {
		return false, err
	}
	handle, err := s.kek.open(ctx, old, scope)
	if err != nil {
		return false, err
	}
	next, err := s.kek.wrap(ctx, handle, scope)
	if err != nil {
		return false, err
	}
	err = s.keysets.ReplaceKeyset(ctx, scope, old, next)
	if errors.Is(err, ErrKeysetExists) {
		return false, nil // another process did it
	}
	return err == nil, err
}

func (s *Sealer) dataKey(ctx context.Context, scope string, create bool) (tink.AEAD, error) {
	s.mu.Lock()
	dek, ok := s.cached[scope]
	s.mu.Unlock()
	if ok {
		return dek, nil
	}
	wrapped, err := s.keysets.Keyset(ctx, scope)
	if create && errors.Is(err, ErrNoKeyset) {
		wrapped, err = s.create(ctx, scope)
	}
	if err != nil {
		return nil, err
	}
	if dek, err = s.kek.unwrap(ctx, wrapped, scope); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cached) >= scopesCachedMax {
		clear(s.cached) // rare, and cheaper than bookkeeping on every use
	}
	s.cached[scope] = dek
	return dek, nil
}

// create stores the first keyset of a scope. When another instance was faster its keyset is the one, and ours was never used.
func (s *Sealer) create(ctx context.Context, scope string) (WrappedKeyset, error) {
	wrapped, err := s.kek.newKeyset(ctx, scope)
	if err != nil {
		return WrappedKeyset{}, err
	}
	err = s.keysets.CreateKeyset(ctx, scope, wrapped)
	if errors.Is(err, ErrKeysetExists) {
		return s.keysets.Keyset(ctx, scope)
	}
	return wrapped, err
}
