package josetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
)

// controls are plain good tokens: a verifier that refuses everything must not pass.
func (c *corpus) controls() {
	c.accept("V", "ES256", c.ec(newHeader(), newClaims()), "the default algorithm")
	c.accept("V", "RS256", c.rsaToken(newClaims()), "a partner's RSA key")
	c.accept("V", "EdDSA", c.edToken("EdDSA", newClaims()), "an Ed25519 key")
	c.accept("V", "Ed25519", c.edToken("Ed25519", newClaims()), "the same algorithm under its RFC 9864 name")
	c.accept("V", "aud as string", c.ec(newHeader(), newClaims().set("aud", quote(Audience))), "RFC 7519 s4.1.3 allows it")
	c.accept("V", "key without alg", join(newHeader().set("kid", `"ec-2"`).String(), newClaims().String(),
		func(signed string) []byte { return ecdsaSign(c.keys.ec2, signed) }), "a P-256 key is for ES256")
}

func (c *corpus) rsaToken(claims document) string {
	return join(newHeader().set("alg", `"RS256"`).set("kid", `"rsa-1"`).String(), claims.String(),
		func(signed string) []byte { return rsaSign(c.keys.rsa1, signed) })
}

func (c *corpus) edToken(alg string, claims document) string {
	return join(newHeader().set("alg", quote(alg)).set("kid", `"ed-1"`).String(), claims.String(),
		func(signed string) []byte { return edSign(c.keys.ed1, signed) })
}

func (c *corpus) noSignature() {
	nothing := func(string) []byte { return nil }
	valid := Valid()
	old := func(string) []byte { return must(decode(valid[strings.LastIndexByte(valid, '.')+1:])) }
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", " none", `n\u006fne`} {
		header := newHeader().set("alg", quote(alg)).String()
		c.reject("N", "alg "+alg+", empty", join(header, newClaims().String(), nothing), jose.ReasonMalformed, "unsigned token")
		c.reject("N", "alg "+alg+", old", join(header, newClaims().String(), old), jose.ReasonAlgorithm,
			"unsigned token with the signature of another")
	}
	for name, header := range map[string]document{
		"missing": newHeader().drop("alg"),
		"null":    newHeader().set("alg", "null"),
		"array":   newHeader().set("alg", `["ES256"]`),
		"number":  newHeader().set("alg", "256"),
		"object":  newHeader().set("alg", `{"ES256":true}`),
		"empty":   newHeader().set("alg", `""`),
	} {
		c.reject("N", "alg "+name+", empty", join(header.String(), newClaims().String(), nothing), jose.ReasonMalformed,
			"unsigned token without a usable alg")
		c.reject("N", "alg "+name+", real", c.ec(header, newClaims()), jose.ReasonAlgorithm, "really signed, but alg says nothing")
	}
	c.reject("N", "alg none over a real signature", c.ec(newHeader().set("alg", `"none"`), newClaims()), jose.ReasonAlgorithm,
		"a reader that trusts the header would not verify")
}

// confusion signs with HMAC under what the attacker has: everything public, and nothing.
func (c *corpus) confusion() {
	hashes := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}
	for kid, public := range map[string]crypto.PublicKey{
		"rsa-1": c.keys.rsa1.Public(),
		"ec-1":  c.keys.ec1.Public(),
		"ed-1":  c.keys.ed1.Public(),
	} {
		der := must(x509.MarshalPKIXPublicKey(public))
		pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		for alg, newHash := range hashes {
			header := newHeader().set("alg", quote(alg)).set("kid", quote(kid)).String()
			for name, key := range map[string][]byte{
				"PEM":                 pemText,
				"PEM without newline": pemText[:len(pemText)-1],
				"DER":                 der,
				"JWK":                 []byte(`{` + jwkMembers(public) + `}`),
				"raw bytes":           rawBytes(public),
			} {
				token := join(header, newClaims().String(), func(signed string) []byte { return hmacSign(newHash, key, signed) })
				c.reject("C", fmt.Sprintf("%s with %s as %s", alg, kid, name), token, jose.ReasonAlgorithm,
					"the public key taken for a shared secret")
			}
		}
	}
	for alg, newHash := range hashes {
		header := newHeader().set("alg", quote(alg))
		for name, key := range map[string][]byte{"empty": nil, "all-zero": make([]byte, 32)} {
			token := join(header.String(), newClaims().String(), func(signed string) []byte { return hmacSign(newHash, key, signed) })
			c.reject("C", alg+" with an "+name+" key", token, jose.ReasonAlgorithm, "a key that was never set")
		}
		leaked := join(header.set("kid", `"hmac-1"`).String(), newClaims().String(),
			func(signed string) []byte { return hmacSign(newHash, []byte(hmacSecret), signed) })
		c.reject("C", alg+" with a published secret", leaked, jose.ReasonAlgorithm, "a symmetric key in a public set is everybody's")
	}
	for alg, kid := range map[string]string{"ES256": "ec-1", "RS256": "rsa-1", "EdDSA": "ed-1"} {
		header := newHeader().set("alg", quote(alg)).set("kid", quote(kid)).String()
		token := join(header, newClaims().String(), func(signed string) []byte { return hmacSign(sha256.New, nil, signed) })
		c.reject("C", "HMAC that calls itself "+alg, token, jose.ReasonSignature, "the signature is of another kind than alg says")
	}
}

func rawBytes(public crypto.PublicKey) []byte {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return public.N.Bytes()
	case *ecdsa.PublicKey:
		return must(public.Bytes())
	case ed25519.PublicKey:
		return public
	}
	return nil
}

func (c *corpus) algorithm() {
	for _, alg := range []string{"RS256", "ES384", "HS256", "es256", "ES999", "ES256K", "EdDSA", "Ed25519", "Ed448", "ES256 ", "PS256"} {
		c.reject("A", alg+" over a real ES256 signature", c.ec(newHeader().set("alg", quote(alg)), newClaims()), jose.ReasonAlgorithm,
			"another reader of the header would believe the wrong algorithm")
	}
	withRSA := newHeader().set("kid", `"rsa-1"`)
	c.reject("A", "PS256 with an RS256 key", join(withRSA.set("alg", `"PS256"`).String(), newClaims().String(), func(signed string) []byte {
		return pssSign(c.keys.rsa1, signed, rsa.PSSSaltLengthEqualsHash)
	}), jose.ReasonAlgorithm, "the key is pinned to RS256")
	c.reject("A", "RS512 with an RS256 key", join(withRSA.set("alg", `"RS512"`).String(), newClaims().String(), func(signed string) []byte {
		digest := sha512.Sum512([]byte(signed))
		return must(rsa.SignPKCS1v15(nil, c.keys.rsa1, crypto.SHA512, digest[:]))
	}), jose.ReasonAlgorithm, "the key is pinned to RS256")
	c.reject("A", "RS256 with a PS256 key", join(newHeader().set("alg", `"RS256"`).set("kid", `"pss-1"`).String(), newClaims().String(),
		func(signed string) []byte { return rsaSign(c.keys.pss1, signed) }), jose.ReasonAlgorithm, "the key is pinned to PS256")
	p384 := func(signed string) []byte { return ecdsaSign(c.keys.p384, signed) }
	c.reject("A", "ES256 by a P-384 key", join(newHeader().set("kid", `"p384-1"`).String(), newClaims().String(), p384), "",
		"the key is not for ES256")
	c.reject("A", "ES256 by a P-384 key under another kid", join(newHeader().String(), newClaims().String(), p384), jose.ReasonSignature,
		"signature of another curve")
	c.reject("A", "RSA-1024", join(newHeader().set("alg", `"RS256"`).set("kid", `"rsa1024-1"`).String(), newClaims().String(),
		func(signed string) []byte { return rsaSign(c.keys.rsa1024, signed) }), "", "a key that can be factored")
}

func pssSign(key *rsa.PrivateKey, signed string, salt int) []byte {
	digest := sha256.Sum256([]byte(signed))
	return must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt}))
}
