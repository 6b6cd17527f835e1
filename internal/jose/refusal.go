package jose

// Reason is the closed set of causes for which a token is refused: metric label, decision log, test oracle.
type Reason string

const (
	ReasonMalformed   Reason = "token_malformed"     // not three canonical base64url segments, or too long
	ReasonHeader      Reason = "token_header"        // header JSON, or a header parameter that is never accepted
	ReasonType        Reason = "token_type"          // typ not on the entry point's list
	ReasonKeyID       Reason = "token_key_id"        // kid missing or not a visible-ASCII string
	ReasonAlgorithm   Reason = "token_algorithm"     // alg not the key's, or not on the issuer's list
	ReasonSignature   Reason = "token_signature"     // does not verify
	ReasonClaims      Reason = "token_claims"        // payload JSON, or a claim of the wrong type or form
	ReasonIssuer      Reason = "token_issuer"        // iss is not the expected one
	ReasonAudience    Reason = "token_audience"      // aud does not name us
	ReasonExpired     Reason = "token_expired"       // exp passed
	ReasonNotYetValid Reason = "token_not_yet_valid" // nbf or iat in the future
	ReasonLifetime    Reason = "token_lifetime"      // exp - iat above the issuer's maximum
)

// Reasons lists the whole set, for callers that prepare one metric series per reason.
func Reasons() []Reason {
	return []Reason{
		ReasonMalformed, ReasonHeader, ReasonType, ReasonKeyID, ReasonAlgorithm, ReasonSignature, ReasonClaims,
		ReasonIssuer, ReasonAudience, ReasonExpired, ReasonNotYetValid, ReasonLifetime,
	}
}

// The causes for which a proof of possession is refused by what it is alone; what it must match is the caller's.
const (
	ReasonProofMalformed Reason = "proof_malformed" // not three canonical base64url segments, or too long
	ReasonProofHeader    Reason = "proof_header"    // header JSON, or a header parameter that is never accepted
	ReasonProofType      Reason = "proof_type"      // typ is not dpop+jwt
	ReasonProofKey       Reason = "proof_key"       // jwk missing, not public, or not fit for a signature
	ReasonProofAlgorithm Reason = "proof_algorithm" // alg not the key's, or not one of ProofAlgorithms
	ReasonProofClaims    Reason = "proof_claims"    // payload JSON, or a claim of the wrong type or form
	ReasonProofSignature Reason = "proof_signature" // does not verify
)

// ProofReasons lists the whole set, as Reasons does for tokens.
func ProofReasons() []Reason {
	return []Reason{
		ReasonProofMalformed, ReasonProofHeader, ReasonProofType, ReasonProofKey, ReasonProofAlgorithm, ReasonProofClaims, ReasonProofSignature,
	}
}

// Error is why a token or a proof was refused. Detail is fixed text: it never carries bytes of what was sent.
type Error struct {
	Reason Reason
	Detail string
}

func (e *Error) Error() string {
	return string(e.Reason) + ": " + e.Detail
}

func refuse(reason Reason, detail string) error {
	return &Error{Reason: reason, Detail: detail}
}
