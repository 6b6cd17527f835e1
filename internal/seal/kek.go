package seal

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keysetVersion opens the associated data of a wrapped keyset, followed by its scope: a keyset moved to another organization's row does not unwrap.
const keysetVersion = "agentidp-keyset-v1"

// KEK is the key-encryption key: the root of all secrets at rest. It never touches the database.
//
// Its form is a Tink keyset in JSON, in a file only the issuer can read. A bare 32-byte key would do for encryption; the keyset carries key
// ids, so a new key can be added while values under the old one still open.
type KEK struct {
	primitive tink.AEAD
	primaryID string
}

// GenerateKEK returns a fresh KEK document for the operator to keep: mode 0600, outside the database and its backups.
func GenerateKEK() ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generate key-encryption key: %w", err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, fmt.Errorf("generate key-encryption key: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// ParseKEK reads a document made by GenerateKEK. Its error never holds bytes of the document.
func ParseKEK(document []byte) (*KEK, error) {
	bad := errors.New("not a key-encryption key: want the JSON document made by GenerateKEK, unchanged")
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(document)))
	if err != nil {
		return nil, bad
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, bad
	}
	primary, err := handle.Primary()
	if err != nil {
		return nil, bad
	}
	return &KEK{primitive: primitive, primaryID: strconv.FormatUint(uint64(primary.KeyID()), 10)}, nil
}

// String and GoString keep the key out of logs.
func (k *KEK) String() string { return "[key-encryption key " + k.primaryID + "]" }

// GoString implements fmt.GoStringer.
func (k *KEK) GoString() string { return k.String() }

func (k *KEK) newKeyset(scope string) (WrappedKeyset, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return WrappedKeyset{}, fmt.Errorf("new data key: %w", err)
	}
	var out bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&out), k.primitive, lengthPrefixed(keysetVersion, scope)); err != nil {
		return WrappedKeyset{}, fmt.Errorf("wrap data key: %w", err)
	}
	return WrappedKeyset{Bytes: out.Bytes(), KEKID: k.primaryID}, nil
}

func (k *KEK) unwrap(w WrappedKeyset, scope string) (tink.AEAD, error) {
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(w.Bytes)), k.primitive, lengthPrefixed(keysetVersion, scope))
	if err != nil {
		return nil, fmt.Errorf("unwrap the data key of scope %q, wrapped by key %s, with key %s: %w", scope, w.KEKID, k.primaryID, ErrOpen)
	}
	return aead.New(handle)
}
