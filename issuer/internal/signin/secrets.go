package signin

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// What a code and a refresh token begin with, so that scanners of repositories and logs find a leaked one.
const (
	codePrefix    = credentials.SecretPrefix + "code_"
	refreshPrefix = credentials.SecretPrefix + "refresh_"
	requestPrefix = "urn:ietf:params:oauth:request_uri:" // RFC 9126 s2.2
)

const (
	randomBytes     = 32
	idBytes         = len(uuid.UUID{})
	hashKeyBytesMin = 32 // the strength of the hash itself (RFC 2104 s3)
)

// Secrets makes what is handed out once and stored as a keyed hash: 256 random bits behind the id of the sign-in they belong to, and a tag that only we can
// compute. The tag tells a token of ours that was replaced from one that somebody made up: the first ends the sign-in, the second is nobody's business.
type Secrets struct{ key []byte }

// NewSecrets takes the key of the hashes, at least 32 bytes.
func NewSecrets(key []byte) (Secrets, error) {
	if len(key) < hashKeyBytesMin {
		return Secrets{}, errors.New("the key for hashes of codes and refresh tokens must be at least 32 bytes")
	}
	return Secrets{bytes.Clone(key)}, nil
}

// issue makes the text and the hash that is stored of it.
func (s Secrets) issue(prefix string, id agentid.SignIn) (text string, hash []byte) {
	random := make([]byte, randomBytes)
	rand.Read(random) // never fails, by contract of crypto/rand
	u := id.UUID()
	body := append(u[:], random...)
	text = prefix + base64.RawURLEncoding.EncodeToString(append(body, s.mac("tag "+prefix, body)...))
	return text, s.mac("hash "+prefix, []byte(text))
}

// open checks the tag and gives the sign-in that the text was made for, and its hash. One sign-in has had several of them: the caller compares the hash with
// the one that is good now.
func (s Secrets) open(prefix, text string) (id agentid.SignIn, hash []byte, ok bool) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok || len(encoded) != base64.RawURLEncoding.EncodedLen(idBytes+randomBytes+sha256.Size) {
		return agentid.SignIn{}, nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return agentid.SignIn{}, nil, false
	}
	body, tag := raw[:idBytes+randomBytes], raw[idBytes+randomBytes:]
	if subtle.ConstantTimeCompare(tag, s.mac("tag "+prefix, body)) != 1 {
		return agentid.SignIn{}, nil, false
	}
	return agentid.FromUUID[agentid.SignIn](uuid.UUID(body[:idBytes])), s.mac("hash "+prefix, []byte(text)), true
}

// pushed makes a request_uri and the key it is stored under.
func (s Secrets) pushed() (uri string, key [32]byte) {
	uri = requestPrefix + rand.Text() + rand.Text() // 256 bits
	return uri, s.pushedKey(uri)
}

func (s Secrets) pushedKey(uri string) [32]byte { return [32]byte(s.mac("request", []byte(uri))) }

// mac is keyed by the purpose too, so that no value made for one of them is good for another.
func (s Secrets) mac(purpose string, b []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte("agentidp sign-in v1 " + purpose + "\x00"))
	m.Write(b)
	return m.Sum(nil)
}
