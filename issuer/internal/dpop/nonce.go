package dpop

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

const (
	// nonceLife is how long a client may use the nonce it was given; then it is given another.
	nonceLife = 2 * time.Minute
	// clockDifference is how far the clocks of two processes of the issuer may be apart: a nonce may seem to come from the future by as much.
	clockDifference = 5 * time.Second

	nonceTimeSize = 8
	nonceMACSize  = 16
	// nonceKeyContext separates this key from any other made of the same secret.
	nonceKeyContext = "agentidp issuer dpop nonce v1"
)

// nonces are stateless (RFC 9449 s8): the second they were made in and its HMAC, under a key that every process of the issuer has. One that a process gave is
// good at any other, and nobody else can make one: a proof that carries one was not made before it.
type nonces struct{ key []byte }

func newNonces(secret []byte) (*nonces, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, nonceKeyContext, sha256.Size)
	if err != nil {
		return nil, err
	}
	return &nonces{key}, nil
}

func (n *nonces) mint(now time.Time) string {
	made := binary.BigEndian.AppendUint64(make([]byte, 0, nonceTimeSize+sha256.Size), uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(n.sign(made)[:nonceTimeSize+nonceMACSize])
}

// sign appends the HMAC of what is there.
func (n *nonces) sign(made []byte) []byte {
	mac := hmac.New(sha256.New, n.key)
	mac.Write(made)
	return mac.Sum(made)
}

// valid also says whether the nonce is in the second half of its life, when the client should be given another.
func (n *nonces) valid(nonce string, now time.Time) (valid, aging bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != nonceTimeSize+nonceMACSize {
		return false, false
	}
	signed := n.sign(append(make([]byte, 0, nonceTimeSize+sha256.Size), raw[:nonceTimeSize]...))
	if !hmac.Equal(signed[nonceTimeSize:nonceTimeSize+nonceMACSize], raw[nonceTimeSize:]) {
		return false, false
	}
	age := now.Unix() - int64(binary.BigEndian.Uint64(raw))
	valid = age >= -int64(clockDifference/time.Second) && age <= int64(nonceLife/time.Second)
	return valid, valid && age > int64(nonceLife/time.Second)/2
}
