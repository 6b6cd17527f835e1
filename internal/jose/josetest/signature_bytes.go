package josetest

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"

	"github.com/agentidp/agentidp/internal/jose"
)

// ecdsaBytes are signatures no private key made, and one that needed none.
func (c *corpus) ecdsaBytes() {
	n := elliptic.P256().Params().N
	zero, one := big.NewInt(0), big.NewInt(1)
	special := []struct {
		name  string
		value *big.Int
	}{{"0", zero}, {"1", one}, {"n-1", new(big.Int).Sub(n, one)}, {"n", n}}
	for _, r := range special {
		for _, s := range special {
			c.forged("r="+r.name+" s="+s.name, rAndS(r.value, s.value, 32), "r and s must lie in 1 to n-1, and mean something")
		}
	}
	signed := encode([]byte(newHeader().String())) + "." + encode([]byte(newClaims().String()))
	good := ecdsaSign(c.keys.ec1, signed)
	r, s := new(big.Int).SetBytes(good[:32]), new(big.Int).SetBytes(good[32:])
	c.forged("all ones", slices.Repeat([]byte{0xFF}, 64), "beyond the group order")
	c.forged("63 bytes", good[:63], "cut")
	c.forged("65 bytes", append(slices.Clone(good), 0), "longer")
	c.forged("128 bytes", append(slices.Clone(good), good...), "twice")
	c.forged("s and r", append(slices.Clone(good[32:]), good[:32]...), "swapped")
	c.forged("DER", must(asn1.Marshal(struct{ R, S *big.Int }{r, s})), "RFC 7518 s3.4 wants r and s side by side")
	c.forged("leading zero bytes", append([]byte{0}, append(slices.Clone(good[:32]), append([]byte{0}, good[32:]...)...)...), "33 bytes each")
	c.accept("G", "n-s twin", join(newHeader().String(), newClaims().String(), func(string) []byte {
		return rAndS(r, new(big.Int).Sub(n, s), 32)
	}), "valid by the mathematics of ECDSA; nothing that was signed differs")
}

func (c *corpus) forged(name string, signature []byte, why string) {
	c.reject("G", "ES256 "+name, join(newHeader().String(), newClaims().String(), func(string) []byte { return signature }), jose.ReasonSignature,
		why)
}

func (c *corpus) rsaBytes() {
	header := newHeader().set("alg", `"RS256"`).set("kid", `"rsa-1"`).String()
	good := rsaSign(c.keys.rsa1, encode([]byte(header))+"."+encode([]byte(newClaims().String())))
	size := len(good)
	s := new(big.Int).SetBytes(good)
	one := big.NewInt(1)
	bigger := new(big.Int).Add(s, c.keys.rsa1.N)
	for _, forged := range []struct {
		name      string
		signature []byte
		why       string
	}{
		{"s+N", bigger.Bytes(), "the same residue, another text"},
		{"leading zero", append([]byte{0}, good...), "the same number, another text"},
		{"trailing zero", append(slices.Clone(good), 0), "longer"},
		{"truncated", good[:size-1], "cut"},
		{"0", make([]byte, size), "0 to any power"},
		{"1", one.FillBytes(make([]byte, size)), "1 to any power"},
		{"N-1", new(big.Int).Sub(c.keys.rsa1.N, one).FillBytes(make([]byte, size)), "-1 to any odd power"},
		{"by another key", rsaSign(c.keys.rsaAttacker, encode([]byte(header))+"."+encode([]byte(newClaims().String()))), "attacker's key"},
		{"e=3 style block", lowExponentBlock(size), "PKCS #1 block in place of a signature"},
	} {
		c.reject("G", "RS256 "+forged.name, join(header, newClaims().String(), func(string) []byte { return forged.signature }), jose.ReasonSignature,
			forged.why)
	}
}

// lowExponentBlock is an unsigned PKCS #1 v1.5 block, as Bleichenbacher's forgeries for small exponents start from.
func lowExponentBlock(size int) []byte {
	digest := sha256.Sum256([]byte("anything"))
	block := append([]byte{0, 1}, slices.Repeat([]byte{0xFF}, size-len(digest)-3)...)
	return append(append(block, 0), digest[:]...)
}

func (c *corpus) ed25519Bytes() {
	header := newHeader().set("alg", `"EdDSA"`).set("kid", `"ed-1"`).String()
	good := edSign(c.keys.ed1, encode([]byte(header))+"."+encode([]byte(newClaims().String())))
	// The order of the base point, RFC 8032 s5.1.
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	littleEndian := slices.Clone(good[32:])
	slices.Reverse(littleEndian)
	s := new(big.Int).Add(new(big.Int).SetBytes(littleEndian), order).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	neutral := append([]byte{1}, make([]byte, 63)...)
	for _, forged := range []struct {
		name      string
		signature []byte
		why       string
	}{
		{"S+L", append(slices.Clone(good[:32]), s...), "the same residue, another text (RFC 8032 s5.1.7)"},
		{"all zero", make([]byte, 64), "no signature"},
		{"neutral point", neutral, "works with a key of small order"},
		{"63 bytes", good[:63], "cut"},
		{"65 bytes", append(slices.Clone(good), 0), "longer"},
		{"by another key", edSign(c.keys.edAttacker, encode([]byte(header))+"."+encode([]byte(newClaims().String()))), "attacker's key"},
	} {
		c.reject("G", "EdDSA "+forged.name, join(header, newClaims().String(), func(string) []byte { return forged.signature }), jose.ReasonSignature,
			forged.why)
	}
}

// pssSalts are right but for the salt. The corpus' rules do not accept PS256 at all; where they do, the reason differs.
func (c *corpus) pssSalts() {
	header := newHeader().set("alg", `"PS256"`).set("kid", `"pss-1"`).String()
	for _, salt := range []int{1, 20, 31, 33, 64, c.keys.pss1.Size() - sha256.Size - 2} {
		c.reject("G", fmt.Sprintf("PS256 salt of %d bytes", salt), join(header, newClaims().String(), func(signed string) []byte {
			return pssSign(c.keys.pss1, signed, salt)
		}), "", "RFC 7518 s3.5: the salt is as long as the hash")
	}
}

// changedBytes flips single bits of a good token's parts.
func (c *corpus) changedBytes() {
	header, claims := newHeader().String(), newClaims().String()
	good := ecdsaSign(c.keys.ec1, encode([]byte(header))+"."+encode([]byte(claims)))
	keep := func(string) []byte { return good }
	c.reject("G", "payload changed", join(header, newClaims().set("org_id", `"org_b"`).String(), keep), jose.ReasonSignature,
		"another organization")
	c.reject("G", "payload longer", join(header, claims+" ", keep), jose.ReasonSignature, "a space more")
	c.reject("G", "header changed", join(newHeader().set("x", "1").String(), claims, keep), jose.ReasonSignature,
		"a parameter more")
	for _, bit := range []int{0, 7, 255, 256, 511} {
		flipped := slices.Clone(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		c.forged(fmt.Sprintf("bit %d flipped", bit), flipped, "one bit")
	}
}
