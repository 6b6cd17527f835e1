// Package issuance says what becomes true with a token: whom it is issued to, whom else it speaks of, and what is used up by it. The grants of the token endpoint fill
// it in, and package postgres commits it.
package issuance

import (
	"errors"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
)

// Record is a token that is about to leave, and what becomes true with it: all of it is committed together, or no token leaves.
type Record struct {
	OrganizationID agentid.Organization // of the agent
	Agent          agentid.Agent        // whom the token is issued to
	Credential     agentid.Credential   // what it authenticated with
	Token          Token
	Details        map[string]any // of the audit record; never a secret

	// Holders are agents of the same organization besides Agent that the token speaks of: it must not leave when one of them was suspended since its
	// token was verified.
	Holders []Holder

	// SignIn is what the token of a relying party changes in the sign-in it comes from; nil for the tokens of agents themselves.
	SignIn *SignInStep

	// MadeOf is the sign-in of a relying party whose tokens this one is made of, and with which it dies: it must live. Zero for none.
	MadeOf agentid.SignIn

	// Uses are what this token uses up: nothing that may be used once is used by two tokens, whatever processes they are asked of.
	Uses []SingleUse
}

// Token is what a token is known by when it has left.
type Token struct {
	ID        string    // jti
	IssuedAt  time.Time // iat: it must not be older than the watermarks of the agent and its organization
	ExpiresAt time.Time
}

// OutdatedError is a token whose iat is older than a watermark that the agent or its organization has by now: it would be dead when it arrives. One from NotBefore on
// lives, if what it is made from does.
type OutdatedError struct{ NotBefore time.Time }

func (e *OutdatedError) Error() string {
	return "tokens from before " + e.NotBefore.Format(time.RFC3339) + " were revoked"
}

// AsOutdated reports whether err is an OutdatedError.
func AsOutdated(err error) (*OutdatedError, bool) { return errors.AsType[*OutdatedError](err) }

// Holder is an agent whose token another one is made from.
type Holder struct {
	Agent      agentid.Agent
	Credential agentid.Credential // of the token; zero when it names none
	IssuedAt   time.Time          // of the token: it must not be older than the watermarks of the agent and its organization
}

// SignInStep is the change of a sign-in that goes with a token of a relying party: from its code to the first refresh token, or from one to the next. It is
// refused with UsedError, and no token leaves, when the sign-in is not any more as Was says, or was revoked.
type SignInStep struct {
	ID                agentid.SignIn
	Was               []byte    // keyed hash of the refresh token that was presented; nil for the code
	Next              []byte    // of the refresh token that goes with the token; nil for none
	NextExpiresAt     time.Time // zero for none
	ExpiresAt         time.Time // of the whole sign-in
	KeyThumbprint     string    // what its refresh tokens are bound to; "" for nothing
	CertificateSHA256 string
	Tokens            []SignInToken // alive now, without the one that leaves
}

// SignInToken is an access token that was issued from a sign-in.
type SignInToken struct {
	ID        string
	ExpiresAt time.Time
}
