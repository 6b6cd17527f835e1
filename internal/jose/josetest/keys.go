package josetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
)

//go:embed testdata/keys/*.pem
var keyFiles embed.FS

// keyring holds the issuer's keys (numbered), and the attacker's.
type keyring struct {
	ec1, ec2, ecTwice, ecAttacker, p384 *ecdsa.PrivateKey
	ed1, edAttacker                     ed25519.PrivateKey
	rsa1, pss1, rsaAttacker, rsa1024    *rsa.PrivateKey
}

var loadKeys = sync.OnceValue(func() *keyring {
	return &keyring{
		ec1: load[*ecdsa.PrivateKey]("ec-1"), ec2: load[*ecdsa.PrivateKey]("ec-2"),
		ecTwice: load[*ecdsa.PrivateKey]("ec-twice"), ecAttacker: load[*ecdsa.PrivateKey]("ec-attacker"),
		p384: load[*ecdsa.PrivateKey]("p384-1"),
		ed1:  load[ed25519.PrivateKey]("ed-1"), edAttacker: load[ed25519.PrivateKey]("ed-attacker"),
		rsa1: load[*rsa.PrivateKey]("rsa-1"), pss1: load[*rsa.PrivateKey]("pss-1"),
		rsaAttacker: load[*rsa.PrivateKey]("rsa-attacker"), rsa1024: load[*rsa.PrivateKey]("rsa1024-1"),
	}
})

func load[K any](name string) K {
	file := must(keyFiles.ReadFile("testdata/keys/" + name + ".pem"))
	block, _ := pem.Decode(file)
	return must(x509.ParsePKCS8PrivateKey(block.Bytes)).(K)
}

// must is for what cannot fail with fixed input; a panic here is a mistake in this package.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// KeySetDocument is the issuer's JWKS. Beside good keys (ec-1, ec-2, rsa-1, ed-1, pss-1) it publishes some that must not
// be used: a P-384 key, a short RSA key, an encryption key, a symmetric key, and two keys under one kid.
func KeySetDocument() []byte {
	k := loadKeys()
	return []byte(`{"keys":[` + strings.Join([]string{
		jwk(k.ec1.Public(), "ec-1", `"alg":"ES256","use":"sig"`),
		jwk(k.ec2.Public(), "ec-2", `"use":"sig"`),
		jwk(k.rsa1.Public(), "rsa-1", `"alg":"RS256","use":"sig","key_ops":["verify"]`),
		jwk(k.ed1.Public(), "ed-1", `"alg":"EdDSA"`),
		jwk(k.pss1.Public(), "pss-1", `"alg":"PS256"`),
		jwk(k.p384.Public(), "p384-1", `"alg":"ES384","use":"sig"`),
		jwk(k.rsa1024.Public(), "rsa1024-1", `"alg":"RS256","use":"sig"`),
		jwk(k.ec2.Public(), "enc-1", `"use":"enc"`),
		`{"kty":"oct","kid":"hmac-1","alg":"HS256","k":"` + encode([]byte(hmacSecret)) + `"}`,
		jwk(k.ecTwice.Public(), "twice-1", `"use":"sig"`),
		jwk(k.ec2.Public(), "twice-1", `"use":"sig"`),
	}, ",") + `]}`)
}

const hmacSecret = "a secret that a key set told everybody"

// jwk writes a public key with a kid and further members.
func jwk(public crypto.PublicKey, kid, more string) string {
	return `{` + jwkMembers(public) + `,"kid":"` + kid + `",` + more + `}`
}

func jwkMembers(public crypto.PublicKey) string {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`"kty":"RSA","n":%q,"e":%q`, encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes()))
	case *ecdsa.PublicKey:
		point := must(public.Bytes())[1:]
		return fmt.Sprintf(`"kty":"EC","crv":%q,"x":%q,"y":%q`,
			public.Curve.Params().Name, encode(point[:len(point)/2]), encode(point[len(point)/2:]))
	case ed25519.PublicKey:
		return fmt.Sprintf(`"kty":"OKP","crv":"Ed25519","x":%q`, encode(public))
	}
	panic(fmt.Sprintf("no JWK for %T", public))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }
