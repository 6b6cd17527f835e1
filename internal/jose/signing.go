package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// SigningKey is a private key with its algorithm; its ID is the RFC 7638 thumbprint. It is immutable and safe for
// concurrent use.
type SigningKey struct {
	private crypto.Signer
	signer  jws.Signer
	public  *VerificationKey
}

// GenerateSigningKey makes a new key. RSA keys have 2048 bits.
func GenerateSigningKey(alg Algorithm) (*SigningKey, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case RS256, PS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBitsNew)
	default:
		return nil, fmt.Errorf("signing key: no algorithm %q", string(alg))
	}
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return newSigningKey(alg, private)
}

// ParseSigningKey reads what PKCS8 wrote. The key must be of the algorithm's kind and pass the checks that a stranger's
// public key must pass. The error carries nothing of the key.
func ParseSigningKey(alg Algorithm, pkcs8 []byte) (*SigningKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errors.New("signing key: not a PKCS #8 private key")
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("signing key: not a key for signatures")
	}
	return newSigningKey(alg, private)
}

func newSigningKey(alg Algorithm, private crypto.Signer) (*SigningKey, error) {
	public, err := publicHalf(private)
	if err != nil {
		return nil, err
	}
	if named, ok := pin(kindOf(public), alg); !ok || named != alg {
		return nil, fmt.Errorf("signing key: type, size or curve does not fit %q", string(alg))
	}
	verification, err := newVerificationKey(thumbprint(public), alg, public)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	signer, err := jws.NewSigner(alg.library())
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &SigningKey{private: private, signer: signer, public: verification}, nil
}

// publicHalf knows the three types whose pointers and values differ between packages.
func publicHalf(private crypto.Signer) (crypto.PublicKey, error) {
	switch private := private.(type) {
	case *rsa.PrivateKey:
		return &private.PublicKey, nil
	case *ecdsa.PrivateKey:
		return &private.PublicKey, nil
	case ed25519.PrivateKey:
		return private.Public(), nil
	}
	return nil, fmt.Errorf("signing key: type %T is not supported", private)
}

// ID is the key's kid: its thumbprint.
func (k *SigningKey) ID() string { return k.public.id }

// Algorithm is the only algorithm the key signs with.
func (k *SigningKey) Algorithm() Algorithm { return k.public.algorithm }

// Verification is the public half.
func (k *SigningKey) Verification() *VerificationKey { return k.public }

// PKCS8 is the private key in the form ParseSigningKey reads. The caller keeps it secret.
func (k *SigningKey) PKCS8() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return der, nil
}

// PublicJWK is the public half for a key set: the members that make the key, then kid, alg and use.
func (k *SigningKey) PublicJWK() json.RawMessage {
	jwk := jwkOf(k.public.public)
	jwk.Kid, jwk.Alg, jwk.Use = k.public.id, string(k.public.algorithm), "sig"
	text, err := json.Marshal(jwk)
	if err != nil {
		return nil // a struct of strings always marshals
	}
	return text
}

// Sign returns the compact JWS of the claims (a JSON object, signed byte for byte) with typ, alg and kid in the header.
// It refuses claims that are not strict JSON, and tokens so long that ParseToken would refuse them.
func (k *SigningKey) Sign(typ string, claims []byte) (string, error) {
	if normal, ok := normaliseType(typ); !ok || !plainTypeName(normal) {
		return "", errors.New("sign: typ is not a media type name")
	}
	if _, err := strictjson.ParseObject(claims, payloadLimits); err != nil {
		return "", fmt.Errorf("sign: claims: %w", err)
	}
	// Nothing here can need escaping: the type was checked, alg is ours, the kid is base64url.
	header := `{"typ":"` + typ + `","alg":"` + string(k.public.algorithm) + `","kid":"` + k.public.id + `"}`
	signed := encode([]byte(header)) + "." + encode(claims)
	signature, err := k.signer.Sign([]byte(signed), k.private)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	token := signed + "." + encode(signature)
	if len(token) > tokenBytesMax {
		return "", fmt.Errorf("sign: token of %d bytes, at most %d are accepted", len(token), tokenBytesMax)
	}
	return token, nil
}

// plainTypeName is what RFC 6838 s4.2 allows in a subtype name, as far as anyone uses it. The name is in lower case.
func plainTypeName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}
