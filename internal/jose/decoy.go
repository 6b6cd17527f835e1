package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"sync"
)

// decoyKey is a key that signed nothing: a verification with it takes as long as one with a client's key. nil for an algorithm that is not ours.
func decoyKey(alg Algorithm) *VerificationKey { return decoys()[alg] }

// decoys are made once and never change.
var decoys = sync.OnceValue(func() map[Algorithm]*VerificationKey {
	keys := make(map[Algorithm]*VerificationKey)
	for alg, public := range map[Algorithm]crypto.PublicKey{ES256: decoyP256(), EdDSA: decoyEd25519(), RS256: decoyRSA(), PS256: decoyRSA()} {
		if key, err := newVerificationKey("", alg, public); err == nil {
			keys[alg] = key
		}
	}
	return keys
})

func decoyP256() crypto.PublicKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("jose: " + err.Error()) // rand.Reader does not fail, by contract of crypto/rand
	}
	return &private.PublicKey
}

func decoyEd25519() crypto.PublicKey {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic("jose: " + err.Error())
	}
	return public
}

// decoyRSA has a modulus of which nobody knows factors: random, odd, of full length. Finding primes would take longer than all the rest of the start.
func decoyRSA() crypto.PublicKey {
	n := make([]byte, rsaBitsNew/8)
	rand.Read(n)
	n[0] |= 0x80
	n[len(n)-1] |= 1
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
}
