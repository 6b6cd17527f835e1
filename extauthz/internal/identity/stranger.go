package identity

import (
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/admission"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
)

// ReasonCrowded is a token that was not looked at. It says nothing about the token.
const ReasonCrowded Reason = "too_many_bad_tokens"

// strangers is what stands between tokens nobody has verified yet and the signature check they ask for.
type strangers struct {
	gate    *admission.Gate // nil admits everybody
	refused refused
}

// Admit lets the gate decide which tokens are verified now. Call it before the first token.
func (v *Verifier) Admit(gate *admission.Gate) { v.gate = gate }

// RefusedHits counts the tokens that were refused because the same bytes had been refused a moment before.
func (v *Verifier) RefusedHits() uint64 { return v.refused.hits.Load() }

// verifyStranger verifies a token that is not remembered, if its source may have that done.
func (v *Verifier) verifyStranger(s *state.Snapshot, source, token string, now time.Time) (issuer *state.Issuer, fresh *verdict, refusal *Refusal) {
	if refusal := v.refused.find(s, token, now); refusal != nil {
		return nil, nil, refusal
	}
	pass, ok := v.gate.Enter(source, now)
	if !ok {
		return nil, nil, refuse(ReasonCrowded, "too many bad tokens from where this one comes")
	}
	defer func() { // also when verify panics
		if refusal == nil || refusal.checked() {
			pass.Checks()
		}
		pass.Leave(fresh != nil)
	}()
	issuer, fresh, refusal = v.verify(s, token, now)
	if refusal != nil {
		v.refused.put(issuer, token, refusal, now)
	}
	return issuer, fresh, refusal
}

// checked reports whether finding out took the check of a signature, or nearly so.
func (r *Refusal) checked() bool {
	switch r.Reason {
	case ReasonIssuerUnknown, ReasonKeyUnknown, Reason(jose.ReasonMalformed), Reason(jose.ReasonHeader), Reason(jose.ReasonType),
		Reason(jose.ReasonKeyID), Reason(jose.ReasonAlgorithm):
		return false
	}
	return !r.Undecided
}
