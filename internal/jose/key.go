package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/lestrrat-go/jwx/v2/jws"
)

// VerificationKey is a checked public key pinned to one algorithm. It is immutable and safe for concurrent use.
type VerificationKey struct {
	id         string
	algorithm  Algorithm
	public     crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	verifier   signatureVerifier
	thumbprint string
}

// signatureVerifier is the one question asked of the library; jws.Verifier is one.
type signatureVerifier interface {
	Verify(signed, signature []byte, key any) error
}

// newVerificationKey pins a public key that has passed checkPublicKey.
func newVerificationKey(id string, alg Algorithm, public crypto.PublicKey) (*VerificationKey, error) {
	k := &VerificationKey{id: id, algorithm: alg, public: public, thumbprint: thumbprint(public)}
	if alg == PS256 {
		k.verifier = pssVerifier{}
		return k, nil
	}
	verifier, err := jws.NewVerifier(alg.library())
	if err != nil {
		return nil, fmt.Errorf("verifier for %s: %w", alg, err)
	}
	k.verifier = verifier
	return k, nil
}

// ID is the key's kid.
func (k *VerificationKey) ID() string { return k.id }

// Algorithm is the only algorithm the key verifies.
func (k *VerificationKey) Algorithm() Algorithm { return k.algorithm }

// Thumbprint is the RFC 7638 SHA-256 thumbprint, base64url.
func (k *VerificationKey) Thumbprint() string { return k.thumbprint }

// verify answers with ReasonSignature whatever goes wrong, a panic of the library included: the checked key leaves no
// known one to reach, and a sidecar must not die of an unknown one.
func (k *VerificationKey) verify(signed, signature []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = refuse(ReasonSignature, "verification panicked")
		}
	}()
	if k.verifier.Verify(signed, signature, k.public) != nil {
		return refuse(ReasonSignature, "signature does not verify")
	}
	return nil
}

// pssVerifier is the standard library's, because the one of jwx takes a salt of any length (RFC 7518 s3.5: the length of
// the hash).
type pssVerifier struct{}

func (pssVerifier) Verify(signed, signature []byte, key any) error {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return errors.New("not an RSA key")
	}
	digest := sha256.Sum256(signed)
	return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: sha256.Size})
}

// publicJWK is a public key as JSON. The members stand in the order RFC 7638 s3.2 wants for the required ones.
type publicJWK struct {
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`

	Kid string `json:"kid,omitempty"`
	Alg string `json:"alg,omitempty"`
	Use string `json:"use,omitempty"`
}

// jwkOf writes the required members of a checked key. Coordinates have the full length of the field, integers none but
// the needed bytes (RFC 7518 s6.2.1.2, s6.3.1.1), so equal keys give equal text.
func jwkOf(public crypto.PublicKey) publicJWK {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return publicJWK{Kty: "RSA", N: encode(public.N.Bytes()), E: encode(big.NewInt(int64(public.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 0x04, X, Y
		if err != nil || len(point) != p256PointBytes {
			return publicJWK{}
		}
		return publicJWK{Kty: "EC", Crv: "P-256", X: encode(point[1 : 1+p256FieldBytes]), Y: encode(point[1+p256FieldBytes:])}
	case ed25519.PublicKey:
		return publicJWK{Kty: "OKP", Crv: "Ed25519", X: encode(public)}
	}
	return publicJWK{}
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint of a public key that something else vouches for, a certificate say. ok is false for a key of a kind, size or
// curve that could not be in a KeySet.
func Thumbprint(public crypto.PublicKey) (_ string, ok bool) {
	if kindOf(public) == kindNone {
		return "", false
	}
	return thumbprint(public), true
}

// thumbprint is RFC 7638 with SHA-256. Only checked keys come here.
func thumbprint(public crypto.PublicKey) string {
	canonicalJWK, err := json.Marshal(jwkOf(public)) // the text of base64url and of fixed names is never escaped
	if err != nil {
		return ""
	}
	digest := sha256.Sum256(canonicalJWK)
	return encode(digest[:])
}
