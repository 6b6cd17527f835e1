package jose

import "testing"

// Without a decoy, an assertion of a client that does not exist would be refused faster than one with a bad signature.
func TestEveryAlgorithmHasADecoy(t *testing.T) {
	t.Parallel()
	for _, alg := range []Algorithm{ES256, EdDSA, RS256, PS256} {
		key := decoyKey(alg)
		if key == nil || key.Algorithm() != alg {
			t.Fatalf("%s has none", alg)
		}
		if err := key.verify([]byte("signed"), make([]byte, 256)); err == nil {
			t.Errorf("%s: the decoy accepts anything", alg)
		}
	}
	if decoyKey("none") != nil {
		t.Error("none has a decoy")
	}
}
