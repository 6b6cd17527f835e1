package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
)

type keyKind int

const (
	kindNone keyKind = iota
	kindRSA
	kindP256
	kindEd25519
)

const (
	p256FieldBytes = 32
	p256PointBytes = 1 + 2*p256FieldBytes // SEC 1 s2.3.3, uncompressed
)

// newP256Key builds the key only if both coordinates have the length of the field and name a point of the curve that is
// not the one at infinity. A longer coordinate makes jwx panic, a point off the curve can leak a private key.
func newP256Key(x, y []byte) (*ecdsa.PublicKey, string) {
	if len(x) != p256FieldBytes || len(y) != p256FieldBytes {
		return nil, problemCoordinateLength
	}
	point := append(append(append(make([]byte, 0, p256PointBytes), 4), x...), y...)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, problemOffCurve
	}
	return key, ""
}

// newEd25519Key refuses other lengths, which make jwx panic, and what checkEdwardsPoint refuses.
func newEd25519Key(x []byte) (ed25519.PublicKey, string) {
	if len(x) != ed25519.PublicKeySize {
		return nil, problemCoordinateLength
	}
	if problem := checkEdwardsPoint(x); problem != "" {
		return nil, problem
	}
	return ed25519.PublicKey(x), ""
}

// newRSAKey refuses sizes outside 2048 to 8192 bits, even moduli, exponents that are even, below 3 or above 31 bits, and
// moduli with the ROCA fingerprint. n and e are in the shortest big-endian form (RFC 7518 s2, Base64urlUInt).
func newRSAKey(n, e []byte) (*rsa.PublicKey, string) {
	if len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 {
		return nil, problemIntegerForm
	}
	if len(n) > rsaBitsMax/8 {
		return nil, problemRSASize
	}
	if len(e) > 4 {
		return nil, problemRSAExponent
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent > rsaExponentMax {
		return nil, problemRSAExponent
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}
	return key, checkRSA(key)
}

// checkRSA is for keys of our own too.
func checkRSA(key *rsa.PublicKey) string {
	switch bits := key.N.BitLen(); {
	case bits < rsaBitsMin || bits > rsaBitsMax:
		return problemRSASize
	case key.N.Bit(0) == 0:
		return problemRSAEven
	case key.E < 3 || key.E > rsaExponentMax || key.E%2 == 0:
		return problemRSAExponent
	case hasROCAFingerprint(key.N):
		return problemROCA
	}
	return ""
}

// kindOf is the kind of a public key of ours, or kindNone when it is of another type, size or curve.
func kindOf(public crypto.PublicKey) keyKind {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if checkRSA(public) == "" {
			return kindRSA
		}
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P256() {
			return kindP256
		}
	case ed25519.PublicKey:
		if len(public) == ed25519.PublicKeySize {
			return kindEd25519
		}
	}
	return kindNone
}
