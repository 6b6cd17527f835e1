package possession

import (
	"errors"

	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/internal/jose"
)

// Reason is a closed set together with jose's proof reasons: metric label, decision log, problem code.
type Reason string

// Reasons beyond those of internal/jose.
const (
	ReasonDowngrade   Reason = "token_constrained"     // bound to a key, sent as Bearer
	ReasonNotBound    Reason = "token_not_bound"       // the DPoP scheme with a token that is bound to no key
	ReasonCertificate Reason = "certificate_mismatch"  // not the client certificate of the connection, or there is none
	ReasonForwarded   Reason = "certificate_forwarded" // a trusted hop's x-forwarded-client-cert is not what a hop sends
	ReasonPrincipal   Reason = "principal_mismatch"    // not the workload of the connection, or there is none
	ReasonKey         Reason = "proof_binding"         // the proof's key is not the token's
	ReasonMethod      Reason = "proof_method"
	ReasonURI         Reason = "proof_uri"
	ReasonTokenHash   Reason = "proof_token"
	ReasonTime        Reason = "proof_time"
	ReasonNonce       Reason = "proof_nonce"
	ReasonReplayed    Reason = "proof_replayed"
	ReasonReplayFull  Reason = "replay_store_full" // cannot decide
	ReasonInternal    Reason = "internal"          // an error that is not a refusal; cannot decide
)

// Refusal says why possession is not proved. Detail is fixed text.
type Refusal struct {
	Reason    Reason
	Detail    string
	Undecided bool
	Code      string            // for the client: invalid_token, invalid_dpop_proof, use_dpop_nonce
	Scheme    credential.Scheme // of the challenge
	Nonce     string            // for DPoP-Nonce (RFC 9449 s8.1)
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuseToken(reason Reason, detail string, scheme credential.Scheme) *Refusal {
	return &Refusal{Reason: reason, Detail: detail, Code: "invalid_token", Scheme: scheme}
}

func refuseProof(reason Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, Detail: detail, Code: "invalid_dpop_proof", Scheme: credential.SchemeDPoP}
}

func fromJOSE(err error) *Refusal {
	var refused *jose.Error
	if errors.As(err, &refused) {
		return refuseProof(Reason(refused.Reason), refused.Detail)
	}
	return &Refusal{Reason: ReasonInternal, Detail: "the proof could not be verified", Undecided: true}
}
