package extauthz

import (
	"net/http"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/possession"
	"github.com/agentidp/agentidp/internal/jose"
)

// prove checks that the caller holds what the token is bound to. It is asked on every request, whatever is remembered of
// the token.
func (s *Server) prove(c *call, who *identity.Identity, presented credential.Credential) *possession.Refusal {
	if who == nil {
		return nil // nobody is nobody, whatever he holds
	}
	if presented.Scheme == credential.SchemeDPoP {
		return s.proveByProof(c, who, presented)
	}
	_, refusal := s.proofs.Check(c.request, who, presented, c.now)
	return refusal
}

// proveByProof asks the gate before the proof's signature is checked: who has a bound token and not its key can send proofs that
// look right. What is held against anybody is held against the key the token is bound to, not against the source: the
// proofs of one client are not delayed because others near it send garbage.
func (s *Server) proveByProof(c *call, who *identity.Identity, presented credential.Credential) (refusal *possession.Refusal) {
	pass, ok := s.gate.Enter(who.Binding.KeyThumbprint, c.now)
	if !ok {
		return &possession.Refusal{Reason: reasonCrowdedProofs, Detail: "too many bad proofs for this token's key"}
	}
	defer func() { // also when the check panics
		if refusal == nil || refusal.Reason == possession.Reason(jose.ReasonProofSignature) {
			pass.Checks()
		}
		pass.Leave(refusal == nil)
	}()
	c.nonce, refusal = s.proofs.Check(c.request, who, presented, c.now)
	return refusal
}

// reasonCrowdedProofs is a proof that was not looked at.
const reasonCrowdedProofs possession.Reason = "too_many_bad_proofs"

func (c *call) refusePossession(r *possession.Refusal) checkresp.Answer {
	switch {
	case r.Reason == reasonCrowdedProofs:
		return c.refuseCrowded(string(r.Reason), r.Detail)
	case r.Undecided:
		return c.giveUp(string(r.Reason), r)
	}
	return c.deny(resultDenied, string(r.Reason), checkresp.Denial{
		Status: http.StatusUnauthorized, Code: string(r.Reason), Documented: true, Detail: r.Detail,
		Challenge: &checkresp.Challenge{Scheme: challengeScheme(r.Scheme), Error: r.Code, Nonce: r.Nonce},
	})
}

// challengeScheme is the scheme a client is told of: the one it used, or both when it used none.
func challengeScheme(s credential.Scheme) checkresp.Scheme {
	switch s {
	case credential.SchemeBearer:
		return checkresp.SchemeBearer
	case credential.SchemeDPoP:
		return checkresp.SchemeDPoP
	default:
		return checkresp.SchemeEither
	}
}

// withholdForwardedCertificate removes x-forwarded-client-cert, unless a trusted hop sent it: the service must not believe it of anybody else.
func (s *Server) withholdForwardedCertificate(r *checkreq.Request) {
	if len(r.Headers.Values(possession.ForwardedHeader)) > 0 && !s.proofs.Believes(r) {
		r.Withhold(possession.ForwardedHeader)
	}
}
