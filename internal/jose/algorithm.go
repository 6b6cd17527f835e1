package jose

import (
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

// Algorithm is a JWS algorithm this system verifies and signs with. There is no other.
type Algorithm string

const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA" // also accepted under its RFC 9864 name, Ed25519
	RS256 Algorithm = "RS256"
	PS256 Algorithm = "PS256" // salt length must equal the hash length
)

// parseAlgorithm reads an alg value as it stands in a header or a JWK. Names are case-sensitive (RFC 7515 s4.1.1).
func parseAlgorithm(name string) (Algorithm, bool) {
	switch name {
	case "ES256":
		return ES256, true
	case "EdDSA", "Ed25519": // RFC 9864 s2.2: Ed25519 is EdDSA with the one curve we have
		return EdDSA, true
	case "RS256":
		return RS256, true
	case "PS256":
		return PS256, true
	}
	return "", false
}

// library is the name jwx knows the algorithm by.
func (a Algorithm) library() jwa.SignatureAlgorithm {
	switch a {
	case ES256:
		return jwa.ES256
	case EdDSA:
		return jwa.EdDSA
	case RS256:
		return jwa.RS256
	case PS256:
		return jwa.PS256
	}
	return "" // jwx has nothing under this name and refuses it
}

// algorithmsOf are the algorithms a kind of key can be pinned to; the first is taken for a key that names none.
func algorithmsOf(kind keyKind) []Algorithm {
	switch kind {
	case kindRSA:
		return []Algorithm{RS256, PS256}
	case kindP256:
		return []Algorithm{ES256}
	case kindEd25519:
		return []Algorithm{EdDSA}
	}
	return nil
}

// pin gives a key its only algorithm (RFC 8725 s3.1): the named one if the kind of key can do it.
func pin(kind keyKind, named Algorithm) (Algorithm, bool) {
	possible := algorithmsOf(kind)
	if len(possible) == 0 {
		return "", false
	}
	if named == "" {
		return possible[0], true
	}
	return named, slices.Contains(possible, named)
}
