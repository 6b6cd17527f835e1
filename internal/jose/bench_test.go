package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// benchmarkTokens are the plain good tokens of the corpus, by algorithm.
func benchmarkTokens(b *testing.B) map[string]string {
	b.Helper()
	tokens := map[string]string{}
	for _, c := range josetest.Corpus() {
		if c.Group == "V" && (c.Name == "ES256" || c.Name == "RS256" || c.Name == "EdDSA") {
			tokens[c.Name] = c.Token
		}
	}
	return tokens
}

// BenchmarkVerify is a cold token: everything from the text to the claims.
func BenchmarkVerify(b *testing.B) {
	keys, rules := corpusKeys(b), josetest.Rules()
	for name, token := range benchmarkTokens(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verify(token, keys, rules, fixedNow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBareSignature is the floor: the standard library over bytes that are already there.
func BenchmarkBareSignature(b *testing.B) {
	public := readLaxly(b, josetest.KeySetDocument())
	kid := map[string]string{"ES256": "ec-1", "RS256": "rsa-1", "EdDSA": "ed-1"}
	for name, token := range benchmarkTokens(b) {
		end := strings.LastIndexByte(token, '.')
		signed := []byte(token[:end])
		signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bareVerify(public[kid[name]], signed, signature) {
					b.Fatal("does not verify")
				}
			}
		})
	}
}

func bareVerify(public crypto.PublicKey, signed, signature []byte) bool {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(signed)
		return ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case *rsa.PublicKey:
		digest := sha256.Sum256(signed)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(public, signed, signature)
	}
	return false
}

// BenchmarkRefuse is the work an unsigned token can cause: all of it before the signature.
func BenchmarkRefuse(b *testing.B) {
	keys, rules := corpusKeys(b), josetest.Rules()
	token := josetest.Valid()
	other := token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
	for name, forged := range map[string]string{
		"too long": strings.Repeat("A", 60<<10), "longest": token + strings.Repeat("A", 8192-len(token)), "bad signature": other,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verify(forged, keys, rules, fixedNow); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range algorithms {
		key, err := jose.GenerateSigningKey(alg)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Sign("at+jwt", []byte(goodClaims)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseKeySet(b *testing.B) {
	doc := josetest.KeySetDocument()
	for b.Loop() {
		if _, _, err := jose.ParseKeySet(doc); err != nil {
			b.Fatal(err)
		}
	}
}
