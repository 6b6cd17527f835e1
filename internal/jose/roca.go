package jose

import "math/big"

// rocaFingerprint recognises RSA moduli made by the Infineon library of CVE-2017-15361 ("The Return of Coppersmith's
// Attack", Nemec et al., 2017). Its primes are k·M + (65537^a mod M) with M the product of the first primes, so modulo
// each of those the modulus lies in the subgroup that 65537 generates. For 2048 bits and more M holds at least the first
// 126 primes. A modulus from elsewhere passes all the tests by chance with a probability far below 2^-50.
var rocaFingerprint = newROCAFingerprint()

const rocaPrimes = 126

type rocaTest struct {
	prime    uint64
	subgroup []bool // by residue
}

func newROCAFingerprint() []rocaTest {
	tests := make([]rocaTest, 0, rocaPrimes)
	for candidate := uint64(2); len(tests) < rocaPrimes; candidate++ {
		if !new(big.Int).SetUint64(candidate).ProbablyPrime(0) {
			continue
		}
		subgroup := make([]bool, candidate)
		for power := uint64(1); !subgroup[power]; power = power * 65537 % candidate {
			subgroup[power] = true
		}
		tests = append(tests, rocaTest{prime: candidate, subgroup: subgroup})
	}
	return tests
}

func hasROCAFingerprint(n *big.Int) bool {
	prime, residue := new(big.Int), new(big.Int)
	for _, test := range rocaFingerprint {
		residue.Mod(n, prime.SetUint64(test.prime))
		if !test.subgroup[residue.Uint64()] {
			return false
		}
	}
	return true
}
