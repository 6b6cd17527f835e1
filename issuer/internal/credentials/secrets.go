package credentials

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"

	"github.com/agentidp/agentidp/internal/agentid"
)

// SecretPrefix opens every client secret, so that scanners of repositories and logs can find a leaked one. The rest is 256 random bits.
const SecretPrefix = "aidp_"

const (
	secretRandomBytes = 32
	// hashKeyBytesMin is the strength of the hash itself (RFC 2104 s3).
	hashKeyBytesMin = 32
)

// Secrets makes client secrets of one kind of clients, and knows them again by their keyed hashes.
type Secrets struct {
	key     []byte
	purpose string
}

// NewSecrets takes the key of the hashes, at least 32 bytes, and what separates these hashes from any other use of the same key.
func NewSecrets(key []byte, purpose string) (Secrets, error) {
	if len(key) < hashKeyBytesMin {
		return Secrets{}, errors.New("the key for client secret hashes must be at least 32 bytes")
	}
	return Secrets{bytes.Clone(key), purpose + "\x00"}, nil
}

// New makes a secret and the hash that is stored of it.
func (s Secrets) New() (secret string, hash []byte) {
	b := make([]byte, secretRandomBytes)
	rand.Read(b) // never fails, by contract of crypto/rand
	secret = SecretPrefix + base64.RawURLEncoding.EncodeToString(b)
	return secret, s.hash(secret)
}

// hash is what is stored. A fast keyed hash is right for 256 random bits: there is nothing to guess, and a slow hash would let anyone exhaust the CPU.
func (s Secrets) hash(secret string) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(s.purpose))
	m.Write([]byte(secret))
	return m.Sum(nil)
}

// Match compares with every stored hash and pads to PerKindMax, so that its time tells neither how many there are nor which one matched. What has no hash
// matches nothing.
func (s Secrets) Match(secret string, stored []Registered) (agentid.Credential, bool) {
	got := s.hash(secret)
	var none [sha256.Size]byte
	var matched agentid.Credential
	found := 0
	for i := range max(PerKindMax, len(stored)) {
		if i >= len(stored) {
			subtle.ConstantTimeCompare(got, none[:])
			continue
		}
		if subtle.ConstantTimeCompare(got, stored[i].Hash) == 1 {
			matched, found = stored[i].Credential, 1
		}
	}
	return matched, found == 1
}

// Check is Match as a Check.
func (s Secrets) Check(secret string) Check {
	return func(_ context.Context, registered []Registered) (agentid.Credential, error) {
		if matched, ok := s.Match(secret, registered); ok {
			return matched, nil
		}
		return agentid.Credential{}, ErrAuthentication
	}
}
