package selfregistration

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// What the two kinds of token begin with, so that scanners of repositories and logs find a leaked one.
const (
	initialPrefix      = credentials.SecretPrefix + "register_"
	registrationPrefix = credentials.SecretPrefix + "registration_"
)

const (
	randomBytes     = 32
	idBytes         = len(uuid.UUID{})
	hashKeyBytesMin = 32 // the strength of the hash itself (RFC 2104 s3)
)

// Secrets makes tokens that are stored as a keyed hash: 256 random bits behind the ids of the organization and of what they open, so that the look-up
// happens inside that organization. The ids are believed for nothing else.
type Secrets struct{ key []byte }

// NewSecrets takes the key of the hashes, at least 32 bytes.
func NewSecrets(key []byte) (Secrets, error) {
	if len(key) < hashKeyBytesMin {
		return Secrets{}, errors.New("the key for hashes of registration tokens must be at least 32 bytes")
	}
	return Secrets{bytes.Clone(key)}, nil
}

func (s Secrets) issue(prefix string, org agentid.Organization, id uuid.UUID) (text string, hash []byte) {
	random := make([]byte, randomBytes)
	rand.Read(random) // never fails, by contract of crypto/rand
	o := org.UUID()
	body := append(append(append([]byte{}, o[:]...), id[:]...), random...)
	text = prefix + base64.RawURLEncoding.EncodeToString(body)
	return text, s.hash(text)
}

// open says what a token claims to be for, and its hash.
func (s Secrets) open(prefix, text string) (org agentid.Organization, id uuid.UUID, hash []byte, ok bool) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok || len(encoded) != base64.RawURLEncoding.EncodedLen(2*idBytes+randomBytes) {
		return org, id, nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return org, id, nil, false
	}
	return agentid.FromUUID[agentid.Organization](uuid.UUID(raw[:idBytes])), uuid.UUID(raw[idBytes : 2*idBytes]), s.hash(text), true
}

func (s Secrets) hash(text string) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte("agentidp registration v1\x00"))
	m.Write([]byte(text))
	return m.Sum(nil)
}
