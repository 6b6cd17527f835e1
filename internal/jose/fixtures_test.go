package jose_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/hex"
	"math/big"

	"github.com/agentidp/agentidp/internal/jose/josetest"
)

var fixedNow = josetest.Now()

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// testPoint is the point of P-256 that belongs to the private key 7.
func testPoint() (x, y []byte) {
	scalar := make([]byte, 32)
	scalar[31] = 7
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		panic(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return point[1:33], point[33:]
}

func ecEntry(more string) string {
	x, y := testPoint()
	return `{"kty":"EC","crv":"P-256","x":"` + b64(string(x)) + `","y":"` + b64(string(y)) + `",` + more + `}`
}

func edEntry(more string) string {
	public := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	return `{"kty":"OKP","crv":"Ed25519","x":"` + b64(string(public)) + `",` + more + `}`
}

func rsaEntry(more string) string {
	return `{"kty":"RSA","n":"` + b64(string(testModulus())) + `","e":"AQAB",` + more + `}`
}

// testModulus is an odd number of 2048 bits. Nobody needs to know its factors.
func testModulus() []byte {
	n := make([]byte, 256)
	for i := range n {
		n[i] = byte(i*i*7 + 13*i + 5)
	}
	n[0] |= 0x80
	n[255] |= 1
	return n
}

// rocaModulus is made the way the broken generator made them: both primes are k·M + (65537^a mod M), M the product of the
// first 126 primes.
func rocaModulus() []byte {
	n := big.NewInt(1)
	for _, seed := range []struct{ k, a int64 }{{8640633220649187, 1236308368}, {7413887235952960, 2614082242}} {
		prime := new(big.Int).Mul(big.NewInt(seed.k), rocaProduct())
		prime.Add(prime, new(big.Int).Exp(big.NewInt(65537), big.NewInt(seed.a), rocaProduct()))
		if !prime.ProbablyPrime(8) {
			panic("not a prime")
		}
		n.Mul(n, prime)
	}
	return n.Bytes()
}

func rocaProduct() *big.Int {
	product, found := big.NewInt(1), 0
	for candidate := int64(2); found < 126; candidate++ {
		if p := big.NewInt(candidate); p.ProbablyPrime(0) {
			product.Mul(product, p)
			found++
		}
	}
	return product
}
