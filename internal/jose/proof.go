package jose

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// Proof is a DPoP proof (RFC 9449 s4.2) whose form, key and claims were checked and whose signature was not, until Verify.
// Everything in it was said by whoever sent it: what it must match is the caller's to compare.
type Proof struct {
	key       *VerificationKey
	signed    string
	signature []byte

	ID              string // jti
	Method          string // htm
	URI             string // htu
	IssuedAt        int64  // seconds since the epoch
	AccessTokenHash string // ath: base64url of a SHA-256; "" when absent
	Nonce           string // "" when absent
}

// ProofAlgorithms are the algorithms a proof may be signed with, in the order a challenge lists them (RFC 9449 s7.1): those of FAPI 2.0 Security Profile s5.4.
func ProofAlgorithms() []Algorithm { return []Algorithm{ES256, EdDSA, PS256} }

const proofType = "dpop+jwt" // RFC 9449 s4.2

// ProofAheadMax is how far ahead of ours the clock of who made a proof may be, at the issuer and at the edge alike. FAPI 2.0 Security Profile s5.3.2.1 wants 10 s to be
// accepted and 60 s to be refused; twice the least leaves room for clocks of ours that differ and for whole seconds.
const ProofAheadMax = 20 * time.Second

// ParseProof reads a proof as strictly as ParseToken reads a token: one spelling, strict JSON, limits, no duplicate
// members. A proof brings its key along in the header, which no token may; the key passes every check of the intake rules
// (docs/adr/0001) before anything else looks at it. No signature is checked: compare Thumbprint with what the access
// token is bound to first, and strangers cannot make anybody compute signatures.
func ParseProof(compact string) (*Proof, error) {
	if len(compact) > proofBytesMax {
		return nil, refuse(ReasonProofMalformed, "proof is longer than 4 KiB")
	}
	form, err := splitCompact(compact)
	if err != nil {
		return nil, refuse(ReasonProofMalformed, "proof is not three canonical base64url segments")
	}
	key, err := parseProofHeader(form.header)
	if err != nil {
		return nil, err
	}
	p := &Proof{key: key, signed: form.signed, signature: form.signature}
	if err := p.readClaims(form.payload); err != nil {
		return nil, err
	}
	return p, nil
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint of the key in the proof: what cnf.jkt must be (RFC 9449 s6.1).
func (p *Proof) Thumbprint() string { return p.key.thumbprint }

// Verify checks the signature over the received text with the key the proof brought. It proves possession of that key and
// nothing about whose key it is.
func (p *Proof) Verify() error {
	if p.key.verify([]byte(p.signed), p.signature) != nil {
		return refuse(ReasonProofSignature, "signature of the proof does not verify")
	}
	return nil
}

// checkProofParameter is checkParameter but for jwk, which belongs into a proof and into nothing else.
func checkProofParameter(name string) error {
	if name == "jwk" {
		return nil
	}
	if checkParameter(name) != nil {
		return refuse(ReasonProofHeader, "header of the proof has a parameter that is never accepted")
	}
	return nil
}

func parseProofHeader(doc []byte) (*VerificationKey, error) {
	members, err := strictjson.ParseObject(doc, proofLimits)
	if err != nil {
		return nil, refuse(ReasonProofHeader, "header of the proof is not one strict JSON object within the limits")
	}
	for name := range members {
		if err := checkProofParameter(name); err != nil {
			return nil, err
		}
	}
	typ, _ := members["typ"].(string)
	if normal, ok := normaliseType(typ); !ok || normal != proofType {
		return nil, refuse(ReasonProofType, "typ of the proof is not dpop+jwt")
	}
	name, _ := members["alg"].(string)
	alg, ok := parseAlgorithm(name)
	if !ok || !slices.Contains(ProofAlgorithms(), alg) {
		return nil, refuse(ReasonProofAlgorithm, "alg of the proof is not accepted")
	}
	jwk, ok := members["jwk"].(map[string]any)
	if !ok {
		return nil, refuse(ReasonProofKey, "jwk is missing or not an object")
	}
	for name := range jwk {
		if !slices.Contains(keyMembers, name) && foldsTo(name, keyMembers) {
			return nil, refuse(ReasonProofKey, "jwk has a member in the wrong case")
		}
	}
	if _, named := jwk["alg"]; !named && alg == PS256 && jwk["kty"] == "RSA" {
		jwk["alg"] = name // an RSA key that names none would be taken for RS256
	}
	// The kid of the key means nothing here: it is the key that counts (RFC 9449 s4.3).
	key, problem := parseKey("", jwk)
	if problem != "" {
		return nil, refuse(ReasonProofKey, "jwk: "+problem)
	}
	if key.algorithm != alg {
		return nil, refuse(ReasonProofAlgorithm, "alg of the proof is not the key's")
	}
	return key, nil
}

// keyMembers are the members of a JWK that mean something to some reader (RFC 7517 s4, RFC 7518 s6, RFC 8037 s2).
var keyMembers = []string{
	"kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "k", "d", "p", "q", "dp", "dq", "qi", "oth", "priv",
}

// proofClaims are the claims of RFC 9449 s4.2.
var proofClaims = []string{"jti", "htm", "htu", "iat", "ath", "nonce"}

func (p *Proof) readClaims(doc []byte) error {
	payload, err := strictjson.ParseObject(doc, proofLimits)
	if err != nil {
		return refuse(ReasonProofClaims, "payload of the proof is not one strict JSON object within the limits")
	}
	for name := range payload {
		if !slices.Contains(proofClaims, name) && foldsTo(name, proofClaims) {
			return refuse(ReasonProofClaims, "payload of the proof has a claim in the wrong case")
		}
	}
	var ok bool
	if p.ID, ok = payload["jti"].(string); !ok || !visible(p.ID, proofIDBytesMax) {
		return refuse(ReasonProofClaims, "jti is missing or not a visible string of at most 256 bytes")
	}
	if p.Method, ok = payload["htm"].(string); !ok || !visibleASCII(p.Method, methodBytesMax) {
		return refuse(ReasonProofClaims, "htm is missing or not a method")
	}
	if p.URI, ok = payload["htu"].(string); !ok || !visibleASCII(p.URI, proofURIBytesMax) {
		return refuse(ReasonProofClaims, "htu is missing or not a URI of at most 2 KiB")
	}
	if p.IssuedAt, ok = readSeconds(payload["iat"]); !ok {
		return refuse(ReasonProofClaims, "iat is missing or not whole seconds")
	}
	return p.readOptional(payload)
}

func (p *Proof) readOptional(payload map[string]any) error {
	if ath, present := payload["ath"]; present {
		text, _ := ath.(string)
		if digest, ok := decodeCanonical(text); !ok || len(digest) != sha256.Size {
			return refuse(ReasonProofClaims, "ath is not a base64url SHA-256")
		}
		p.AccessTokenHash = text
	}
	if nonce, present := payload["nonce"]; present {
		var ok bool
		if p.Nonce, ok = nonce.(string); !ok || !visibleASCII(p.Nonce, proofNonceBytesMax) {
			return refuse(ReasonProofClaims, "nonce is not 1 to 256 visible ASCII characters")
		}
	}
	return nil
}
