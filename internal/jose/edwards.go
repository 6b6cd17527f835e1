package jose

import (
	"math/big"
	"slices"
)

// edwardsCurve holds what RFC 8032 s5.1 says about the curve -x² + y² = 1 + d·x²·y² over the field of p. Read only.
var edwardsCurve = newEdwardsParameters()

type edwardsParameters struct {
	p, d *big.Int
	// smallOrderY are the y of the eight points whose order divides the cofactor: 1 (order 1), -1 (order 2), 0 (order 4)
	// and ±order8Y (order 8).
	smallOrderY []*big.Int
}

// order8Y is y of a point of order 8: 8·P is neutral while 4·P is not; a test computes it.
const order8Y = "5fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826"

func newEdwardsParameters() *edwardsParameters {
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p) // d = -121665/121666
	d.Mod(d.Mul(d, big.NewInt(-121665)), p)
	y8, _ := new(big.Int).SetString(order8Y, 16)
	return &edwardsParameters{p: p, d: d, smallOrderY: []*big.Int{
		one, new(big.Int).Sub(p, one), new(big.Int), y8, new(big.Int).Sub(p, y8),
	}}
}

// checkEdwardsPoint refuses encodings of a y beyond the field (a second spelling of a key), of no point of the curve, and
// of points of small order: with one of those as key, one signature verifies for nearly every message.
func checkEdwardsPoint(encoded []byte) string {
	c := edwardsCurve
	bigEndian := slices.Clone(encoded)
	slices.Reverse(bigEndian)
	bigEndian[0] &= 0x7F // the sign of x
	y := new(big.Int).SetBytes(bigEndian)
	if y.Cmp(c.p) >= 0 {
		return problemOffCurve
	}
	if slices.ContainsFunc(c.smallOrderY, func(small *big.Int) bool { return small.Cmp(y) == 0 }) {
		return problemSmallOrder
	}
	// RFC 8032 s5.1.3: x² = (y²-1)/(d·y²+1). The quotient u/v is a square exactly when u·v is.
	y2 := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(y2, big.NewInt(1))
	v := new(big.Int).Add(y2.Mul(y2, c.d), big.NewInt(1))
	product := u.Mul(u, v)
	if big.Jacobi(product.Mod(product, c.p), c.p) != 1 {
		return problemOffCurve
	}
	return ""
}
