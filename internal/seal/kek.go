package seal

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keysetVersion opens the associated data of a wrapped keyset, followed by its scope: a keyset moved to another organization's row does not unwrap.
const keysetVersion = "agentidp-keyset-v1"

// Wrapper is one place where a key-encryption key is kept. Implementations are safe for concurrent use.
type Wrapper interface {
	// Current is the id of the key that Wrap uses now. Ids are unique among the wrappers of a KEK, and at most 256 bytes.
	Current(ctx context.Context) (string, error)
	// Owns reports whether a key id is one of this wrapper's.
	Owns(keyID string) bool
	Wrap(ctx context.Context, plaintext, associatedData []byte) (wrapped []byte, keyID string, err error)
	// Unwrap is ErrOpen for anything that Wrap did not make with the same associated data.
	Unwrap(ctx context.Context, wrapped, associatedData []byte) ([]byte, error)
	// String names the key for logs and holds nothing secret.
	String() string
}

// KEK is the key-encryption key: the root of all secrets at rest. It never touches the database.
//
// New data keys are wrapped by the primary; what another one wrapped still opens, until Sealer.Rewrap has moved it to the primary.
type KEK struct {
	primary Wrapper
	others  []Wrapper
}

// NewKEK returns the key-encryption key that wraps with primary, and opens what any of the others wrapped.
func NewKEK(primary Wrapper, others ...Wrapper) *KEK { return &KEK{primary, others} }

// fileKEK is a key-encryption key in memory.
//
// Its form is a Tink keyset in JSON, in a file only the issuer can read. A bare 32-byte key would do for encryption; the keyset carries key
// ids, so a new key can be added while values under the old one still open.
type fileKEK struct {
	primitive tink.AEAD
	primaryID string
	ids       []string
}

// Current implements Wrapper.
func (k *fileKEK) Current(context.Context) (string, error) { return k.primaryID, nil }

// Owns implements Wrapper.
func (k *fileKEK) Owns(keyID string) bool { return slices.Contains(k.ids, keyID) }

// Wrap implements Wrapper.
func (k *fileKEK) Wrap(_ context.Context, plaintext, associatedData []byte) ([]byte, string, error) {
	wrapped, err := k.primitive.Encrypt(plaintext, associatedData)
	return wrapped, k.primaryID, err
}

// Unwrap implements Wrapper.
func (k *fileKEK) Unwrap(_ context.Context, wrapped, associatedData []byte) ([]byte, error) {
	plaintext, err := k.primitive.Decrypt(wrapped, associatedData)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

// GenerateKEK returns a fresh KEK document for the operator to keep: mode 0600, outside the database and its backups.
func GenerateKEK() ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generate key-encryption key: %w", err)
	}
	return writeKEK(handle)
}

// RotateKEK returns the document with a new key that wraps from now on; what the keys before wrapped still opens.
func RotateKEK(document []byte) ([]byte, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(document)))
	if err != nil {
		return nil, errKEKDocument
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("rotate key-encryption key: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("rotate key-encryption key: %w", err)
	}
	rotated, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("rotate key-encryption key: %w", err)
	}
	return writeKEK(rotated)
}

func writeKEK(handle *keyset.Handle) ([]byte, error) {
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, fmt.Errorf("write key-encryption key: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

var errKEKDocument = errors.New("want the JSON document that `issuer -generate-kek` or `-rotate-kek` printed, unchanged")

// ParseWrapper reads a document made by GenerateKEK or RotateKEK. Its error never holds bytes of the document.
func ParseWrapper(document []byte) (Wrapper, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(document)))
	if err != nil {
		return nil, errKEKDocument
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errKEKDocument
	}
	primary, err := handle.Primary()
	if err != nil {
		return nil, errKEKDocument
	}
	k := &fileKEK{primitive: primitive, primaryID: keyID(primary)}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, errKEKDocument
		}
		k.ids = append(k.ids, keyID(entry))
	}
	return k, nil
}

func keyID(e *keyset.Entry) string { return strconv.FormatUint(uint64(e.KeyID()), 10) }

// String and GoString keep the key out of logs.
func (k *fileKEK) String() string { return "[key-encryption key " + k.primaryID + "]" }

// GoString implements fmt.GoStringer.
func (k *fileKEK) GoString() string { return k.String() }

// String and GoString keep the key out of logs.
func (k *KEK) String() string { return k.primary.String() }

// GoString implements fmt.GoStringer.
func (k *KEK) GoString() string { return k.String() }

// envelope is a wrapper as Tink wants it.
type envelope struct {
	Wrapper
	keyID string // of the last EncryptWithContext
	err   error  // of the last call: Tink does not pass it on
}

func (e *envelope) EncryptWithContext(ctx context.Context, plaintext, associatedData []byte) (wrapped []byte, err error) {
	wrapped, e.keyID, err = e.Wrap(ctx, plaintext, associatedData)
	e.err = err
	return wrapped, err
}

func (e *envelope) DecryptWithContext(ctx context.Context, wrapped, associatedData []byte) ([]byte, error) {
	plaintext, err := e.Unwrap(ctx, wrapped, associatedData)
	e.err = err
	return plaintext, err
}

func (k *KEK) newKeyset(ctx context.Context, scope string) (WrappedKeyset, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return WrappedKeyset{}, fmt.Errorf("new data key: %w", err)
	}
	return k.wrap(ctx, handle, scope)
}

func (k *KEK) wrap(ctx context.Context, handle *keyset.Handle, scope string) (WrappedKeyset, error) {
	var out bytes.Buffer
	e := &envelope{Wrapper: k.primary}
	if err := handle.WriteWithContext(ctx, keyset.NewBinaryWriter(&out), e, lengthPrefixed(keysetVersion, scope)); err != nil {
		return WrappedKeyset{}, fmt.Errorf("wrap data key: %w", cmp.Or(e.err, err))
	}
	return WrappedKeyset{Bytes: out.Bytes(), KEKID: e.keyID}, nil
}

// open unwraps with the wrapper whose key it was; a key id can be rewritten in the database, but then the wrapper does not open the keyset.
func (k *KEK) open(ctx context.Context, w WrappedKeyset, scope string) (*keyset.Handle, error) {
	for _, wrapper := range append([]Wrapper{k.primary}, k.others...) {
		if !wrapper.Owns(w.KEKID) {
			continue
		}
		e := &envelope{Wrapper: wrapper}
		handle, err := keyset.ReadWithContext(ctx, keyset.NewBinaryReader(bytes.NewReader(w.Bytes)), e, lengthPrefixed(keysetVersion, scope))
		if err != nil {
			return nil, fmt.Errorf("unwrap the data key of scope %q, wrapped by key %s: %w", scope, w.KEKID, cmp.Or(e.err, ErrOpen))
		}
		return handle, nil
	}
	return nil, fmt.Errorf("the data key of scope %q is wrapped by key %s, which is not configured: %w", scope, w.KEKID, ErrOpen)
}

func (k *KEK) unwrap(ctx context.Context, w WrappedKeyset, scope string) (tink.AEAD, error) {
	handle, err := k.open(ctx, w, scope)
	if err != nil {
		return nil, err
	}
	return aead.New(handle)
}
