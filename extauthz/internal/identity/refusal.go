package identity

import (
	"errors"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/trust"
)

// Reason is a closed set together with jose's reasons: metric label, decision log, problem code.
type Reason string

// Reasons beyond those of internal/jose.
const (
	ReasonIssuerUnknown Reason = "issuer_unknown"       // nobody here trusts the issuer
	ReasonKeyUnknown    Reason = "key_unknown"          // the issuer has no such key, as far as we know
	ReasonOrganization  Reason = "organization"         // not the organization the issuer speaks for, or none
	ReasonClaims        Reason = "token_claims"         // as jose's: a claim of the wrong type or form
	ReasonConstrained   Reason = "token_constrained"    // bound to what cannot be checked here
	ReasonUnbound       Reason = "token_unbound"        // not bound, though the issuer's must be
	ReasonExpired       Reason = "token_expired"        // as jose's
	ReasonNotYetValid   Reason = "token_not_yet_valid"  // as jose's
	ReasonRevokedToken  Reason = "revoked_token"        // by its jti
	ReasonRevokedAgent  Reason = "revoked_agent"        // also when the agent is an actor of the token
	ReasonRevokedOrg    Reason = "revoked_organization" // the agent's, also an actor's
	ReasonRevokedKey    Reason = "revoked_key"          // the token was signed with
	ReasonRevokedCred   Reason = "revoked_credential"   // what the token was got with
	ReasonRevokedIssuer Reason = "revoked_issuer"       // the whole issuer, or its tokens from before a time; also an actor's
	ReasonRevokedPeer   Reason = "revoked_partner"      // whose issuer it is; also an actor's
	ReasonInternal      Reason = "internal"             // an error that is not a refusal

	ReasonKeysMissing        Reason = "keys_missing" // these four: cannot decide
	ReasonKeysStale          Reason = "keys_stale"
	ReasonRevocationsMissing Reason = "revocations_missing"
	ReasonRevocationsStale   Reason = "revocations_stale"
)

// Refusal says why a token proves nothing. Detail is fixed text.
type Refusal struct {
	Reason    Reason
	Detail    string
	Undecided bool // the token may be good: what is missing is ours
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, detail string) *Refusal { return &Refusal{Reason: reason, Detail: detail} }

func undecided(reason Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, Detail: detail, Undecided: true}
}

func fromJOSE(err error) *Refusal {
	var refused *jose.Error
	if errors.As(err, &refused) {
		return refuse(Reason(refused.Reason), refused.Detail)
	}
	return undecided(ReasonInternal, "the token could not be verified")
}

func revoked(what string) *Refusal {
	switch what {
	case trust.RevokedToken:
		return refuse(ReasonRevokedToken, "the token was revoked")
	case trust.RevokedAgent:
		return refuse(ReasonRevokedAgent, "the agent was suspended or revoked")
	case trust.RevokedOrganization:
		return refuse(ReasonRevokedOrg, "the organization was suspended or revoked")
	case trust.RevokedCredential:
		return refuse(ReasonRevokedCred, "the credential the token was got with was deleted")
	case trust.RevokedIssuer:
		return refuse(ReasonRevokedIssuer, "the issuer was revoked")
	case trust.RevokedPartner:
		return refuse(ReasonRevokedPeer, "the partner was revoked")
	default:
		return refuse(ReasonRevokedKey, "the signing key was revoked")
	}
}
