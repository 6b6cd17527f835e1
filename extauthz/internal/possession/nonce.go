package possession

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

const (
	// nonceLife is how long a client may use the nonce it was given; then it is given another.
	nonceLife     = 2 * time.Minute
	nonceTimeSize = 8
	nonceMACSize  = 16
)

// nonces are stateless: the second they were made in and its HMAC. Nobody else can make one, so a proof that carries one
// was not made before it. The key is this process's own: a nonce says nothing to another sidecar, nor to this one after a
// restart.
type nonces struct{ key []byte }

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
	made := append(make([]byte, 0, nonceTimeSize+sha256.Size), raw[:nonceTimeSize]...)
	if !hmac.Equal(n.sign(made)[nonceTimeSize:nonceTimeSize+nonceMACSize], raw[nonceTimeSize:]) {
		return false, false
	}
	age := now.Unix() - int64(binary.BigEndian.Uint64(raw))
	life := int64(nonceLife / time.Second)
	valid = age >= 0 && age <= life
	return valid, valid && age > life/2
}
