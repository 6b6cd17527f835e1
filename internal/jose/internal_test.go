package jose

import (
	"crypto/ed25519"
	"errors"
	"math"
	"math/big"
	"testing"
)

// brokenVerifier is a library at its worst.
type brokenVerifier struct{ do func() error }

func (b brokenVerifier) Verify([]byte, []byte, any) error { return b.do() }

// TestLibraryPanicIsARefusal: gRPC recovers no panic, so one would kill the sidecar.
func TestLibraryPanicIsARefusal(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func() error{
		"string":        func() error { panic("short key") },
		"runtime error": func() error { var none []byte; _ = none[len(none)]; return nil },
		"error value":   func() error { panic(errors.New("x")) },
		"plain error":   func() error { return errors.New("x") },
	} {
		key := &VerificationKey{id: "k", algorithm: ES256, verifier: brokenVerifier{do}}
		var refusal *Error
		if err := key.verify(nil, nil); !errors.As(err, &refusal) || refusal.Reason != ReasonSignature {
			t.Errorf("%s: %v, want a refusal for the signature", name, err)
		}
	}
}

// TestUncheckedKeysPanicTheLibrary is why the checks come first, and shows the recovery with the real library: no intake
// would ever let this key through.
func TestUncheckedKeysPanicTheLibrary(t *testing.T) {
	t.Parallel()
	key, err := newVerificationKey("k", EdDSA, ed25519.PublicKey("short"))
	if err != nil {
		t.Fatal(err)
	}
	want := Error{Reason: ReasonSignature, Detail: "verification panicked"}
	var refusal *Error
	if err := key.verify([]byte("x"), make([]byte, 64)); !errors.As(err, &refusal) || *refusal != want {
		t.Errorf("%v, want %v", err, &want)
	}
}

// TestROCAChance computes how likely a good modulus is refused: per prime, the share of residues in the subgroup.
func TestROCAChance(t *testing.T) {
	t.Parallel()
	bits := 0.0
	for _, test := range rocaFingerprint {
		residues := 0
		for _, in := range test.subgroup {
			if in {
				residues++
			}
		}
		bits -= math.Log2(float64(residues) / float64(test.prime-1))
	}
	if len(rocaFingerprint) != rocaPrimes || rocaFingerprint[rocaPrimes-1].prime != 701 || bits < 50 {
		t.Errorf("%d primes, chance 2^-%.0f", len(rocaFingerprint), bits)
	}
}

// TestSmallOrderPoints computes with the group law (RFC 8032 s5.1.4, affine) that every y on the list belongs to a point
// whose order divides 8, and that the list is complete: the subgroup has eight points, one each for y = ±1, else two.
func TestSmallOrderPoints(t *testing.T) {
	t.Parallel()
	c, points := edwardsCurve, 0
	for _, y := range c.smallOrderY {
		for _, p := range c.pointsAt(t, y) {
			points++
			for range 3 {
				p = c.double(p)
			}
			if p.x.Sign() != 0 || p.y.Cmp(big.NewInt(1)) != 0 {
				t.Errorf("8 times the point with y = %x is not neutral", y)
			}
		}
	}
	if points != 8 {
		t.Errorf("%d points of small order, want 8", points)
	}
}

type edwardsPoint struct{ x, y *big.Int }

func (c *edwardsParameters) pointsAt(t *testing.T, y *big.Int) []edwardsPoint {
	t.Helper()
	y2 := new(big.Int).Mul(y, y)
	v := new(big.Int).Mul(c.d, y2)
	x2 := c.quotient(new(big.Int).Sub(y2, big.NewInt(1)), v.Add(v, big.NewInt(1)))
	x := new(big.Int).ModSqrt(x2, c.p)
	if x == nil {
		t.Fatalf("no point with y = %x", y)
	}
	if x.Sign() == 0 {
		return []edwardsPoint{{x, y}}
	}
	return []edwardsPoint{{x, y}, {new(big.Int).Sub(c.p, x), y}}
}

func (c *edwardsParameters) double(p edwardsPoint) edwardsPoint {
	xy := new(big.Int).Mul(p.x, p.y)
	k := new(big.Int).Mul(xy, xy)
	k.Mod(k.Mul(k, c.d), c.p)
	one := big.NewInt(1)
	squares := new(big.Int).Add(new(big.Int).Mul(p.x, p.x), new(big.Int).Mul(p.y, p.y))
	return edwardsPoint{
		x: c.quotient(new(big.Int).Lsh(xy, 1), new(big.Int).Add(one, k)),
		y: c.quotient(squares, new(big.Int).Sub(one, k)),
	}
}

func (c *edwardsParameters) quotient(u, v *big.Int) *big.Int {
	inverse := new(big.Int).ModInverse(new(big.Int).Mod(v, c.p), c.p)
	q := new(big.Int).Mul(u, inverse)
	return q.Mod(q, c.p)
}

func TestVisible(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "agt_1", "https://x/y?z#é", "агент", "機械", "e\u0301", "😀", "~!"} {
		if !visible(good, 64) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{
		"", " ", "a b", "a\t", "\x00", "\x7f", "\u0085", "\u00a0", "\u00ad", "\u034f", "\u061c", "\u115f", "\u17b4", "\u180e", "\u200b", "\u200d", "\u2028",
		"\u202e", "\u2060", "\u2800", "\u3000", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ufffd", "\ufff9", "\U000e0001", "\U000e0100", "\ue000", "\U0010ffff", "toolong8!" + "x",
	} {
		if visible(bad, 9) {
			t.Errorf("%+q is accepted", bad)
		}
	}
}
