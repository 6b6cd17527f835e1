package jose

import (
	"crypto"
	"slices"
)

// What an operator reads about a key that was left out.
const (
	problemUnreadable       = "cannot be read in one way only: " // and what strictjson says
	problemNotObject        = "not an object"
	problemKeyID            = "kid is missing or not 1 to 128 visible ASCII characters"
	problemKeyIDTwice       = "kid is used by another verification key of the set"
	problemKeyType          = "kty is missing or not supported"
	problemSymmetric        = "symmetric key in a public set"
	problemPrivate          = "private key in a public set"
	problemUse              = "use is not sig"
	problemOperations       = "key_ops does not allow verify"
	problemAlgorithm        = "alg is not supported"
	problemAlgorithmKey     = "alg does not fit the key"
	problemCurve            = "crv is missing or not supported"
	problemEncoding         = "key material is missing or not canonical base64url"
	problemIntegerForm      = "integer is empty or has leading zeros"
	problemCoordinateLength = "coordinate has the wrong length"
	problemOffCurve         = "not a point of the curve"
	problemSmallOrder       = "point of small order"
	problemRSASize          = "modulus is not 2048 to 8192 bits"
	problemRSAEven          = "modulus is even"
	problemRSAExponent      = "exponent is not odd, or not in 3 to 2^31-1"
	problemROCA             = "modulus was made by a broken generator (CVE-2017-15361)"
	problemLibrary          = "the library has no verifier for the key"
)

// parseKey reads one member of a key set by the intake rules (docs/adr/0001), or says why it cannot be used. The key is
// built from the received bytes here; no library reads them a second time.
func parseKey(id string, jwk map[string]any) (*VerificationKey, string) {
	if problem := checkPurpose(jwk); problem != "" {
		return nil, problem
	}
	kind, public, problem := parsePublicKey(jwk)
	if problem != "" {
		return nil, problem
	}
	alg, problem := pinned(kind, jwk)
	if problem != "" {
		return nil, problem
	}
	key, err := newVerificationKey(id, alg, public)
	if err != nil {
		return nil, problemLibrary
	}
	return key, ""
}

// checkPurpose refuses what must never be in a public set, then what is not for verifying signatures (RFC 7517 s4.2, 4.3).
func checkPurpose(jwk map[string]any) string {
	if _, present := jwk["k"]; present || jwk["kty"] == "oct" {
		return problemSymmetric
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		if _, present := jwk[private]; present {
			return problemPrivate
		}
	}
	if use, present := jwk["use"]; present && use != "sig" {
		return problemUse
	}
	operations, present := jwk["key_ops"]
	if !present {
		return ""
	}
	list, ok := operations.([]any)
	if !ok || !slices.Contains(list, any("verify")) {
		return problemOperations
	}
	return ""
}

func parsePublicKey(jwk map[string]any) (keyKind, crypto.PublicKey, string) {
	switch jwk["kty"] {
	case "RSA":
		n, nOK := decodeMember(jwk, "n")
		e, eOK := decodeMember(jwk, "e")
		if !nOK || !eOK {
			return kindNone, nil, problemEncoding
		}
		key, problem := newRSAKey(n, e)
		return kindRSA, key, problem
	case "EC":
		if jwk["crv"] != "P-256" {
			return kindNone, nil, problemCurve
		}
		x, xOK := decodeMember(jwk, "x")
		y, yOK := decodeMember(jwk, "y")
		if !xOK || !yOK {
			return kindNone, nil, problemEncoding
		}
		key, problem := newP256Key(x, y)
		return kindP256, key, problem
	case "OKP":
		if jwk["crv"] != "Ed25519" {
			return kindNone, nil, problemCurve
		}
		x, ok := decodeMember(jwk, "x")
		if !ok {
			return kindNone, nil, problemEncoding
		}
		key, problem := newEd25519Key(x)
		return kindEd25519, key, problem
	}
	return kindNone, nil, problemKeyType
}

// pinned is the algorithm a key is for: the one it names, else RS256, ES256 or EdDSA by its kind (but see ParseKeySetFor).
func pinned(kind keyKind, jwk map[string]any) (Algorithm, string) {
	var named Algorithm
	if v, present := jwk["alg"]; present {
		text, _ := v.(string)
		var ok bool
		if named, ok = parseAlgorithm(text); !ok {
			return "", problemAlgorithm
		}
	}
	alg, ok := pin(kind, named)
	if !ok {
		return "", problemAlgorithmKey
	}
	return alg, ""
}

func decodeMember(jwk map[string]any, name string) ([]byte, bool) {
	text, ok := jwk[name].(string)
	if !ok {
		return nil, false
	}
	return decodeCanonical(text)
}
