package jose

import (
	"strings"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// typeAbsent stands for a token without typ (RFC 7519 s5.1 recommends "JWT" for a plain one).
const typeAbsent = "jwt"

// header is what is read of a JOSE header. Everything else in it is either refused or ignored.
type header struct {
	algorithm Algorithm
	keyID     string
	typ       string // normalised
}

// Whether a header must name its key.
const (
	keyIDRequired = true
	keyIDOptional = false
)

// parseHeader is steps 2 to 5 as far as the token alone decides them.
func parseHeader(doc []byte) (*header, error) { return readHeader(doc, keyIDRequired) }

func readHeader(doc []byte, keyID bool) (*header, error) {
	members, err := strictjson.ParseObject(doc, headerLimits)
	if err != nil {
		return nil, refuse(ReasonHeader, "header is not one strict JSON object within the limits")
	}
	for name := range members {
		if err := checkParameter(name); err != nil {
			return nil, err
		}
	}
	h := &header{typ: typeAbsent}
	if typ, present := members["typ"]; present {
		text, ok := typ.(string)
		if !ok {
			return nil, refuse(ReasonType, "typ is not a string")
		}
		if h.typ, ok = normaliseType(text); !ok {
			return nil, refuse(ReasonType, "typ is not a media type name")
		}
	}
	kid, present := members["kid"]
	var ok bool
	if h.keyID, ok = kid.(string); !ok && (present || keyID) {
		return nil, refuse(ReasonKeyID, "kid is missing or not a string")
	}
	if present && !visibleASCII(h.keyID, keyIDBytesMax) {
		return nil, refuse(ReasonKeyID, "kid is not 1 to 128 visible ASCII characters")
	}
	alg, ok := members["alg"].(string)
	if !ok {
		return nil, refuse(ReasonAlgorithm, "alg is missing or not a string")
	}
	if h.algorithm, ok = parseAlgorithm(alg); !ok {
		return nil, refuse(ReasonAlgorithm, "alg is not one of ours")
	}
	return h, nil
}

// parameterNames are the header parameters that mean something to some reader of a token: those read here, then those
// that are refused.
var parameterNames = []string{"alg", "kid", "typ", "jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "p2c", "cty"}

// checkParameter refuses parameters that bring a key along (jwk, jku, x5u, x5c), change what is signed or how it is read
// (crit, b64, zip, cty), or belong to encryption (enc, epk, p2c). Others are ignored, as RFC 7515 s4 wants: x5t is
// common and harmless. A name that differs from a known one only in case is refused: encoding/json would take it for
// the known one.
func checkParameter(name string) error {
	switch name {
	case "alg", "kid", "typ":
		return nil
	case "jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "epk", "p2c", "cty":
		return refuse(ReasonHeader, "header has a parameter that is never accepted")
	}
	if foldsTo(name, parameterNames) {
		return refuse(ReasonHeader, "header has a parameter in the wrong case")
	}
	return nil
}

// foldsTo reports whether a name, not itself on the list, would be taken for one on it by a reader that ignores case.
func foldsTo(name string, list []string) bool {
	for _, known := range list {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// normaliseType lowers the case (RFC 2045 s5.1, ASCII only) and drops "application/" (RFC 7515 s4.1.9). Parameters are
// not taken off: "at+jwt; v=1" is no type we know.
func normaliseType(typ string) (string, bool) {
	if !visibleASCII(typ, typeBytesMax) {
		return "", false
	}
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ, typ != ""
}
