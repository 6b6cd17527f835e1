package agents

import (
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
)

// The purposes of an UsedError that sign-ins add.
const (
	UseSignIn        = "sign_in"        // its code or refresh token
	UsePushedRequest = "pushed_request" // RFC 9126 s7.3
)

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
	Tokens            []SignInToken // alive now, with the one that leaves
}

// SignInToken is an access token that was issued from a sign-in.
type SignInToken struct {
	ID        string
	ExpiresAt time.Time
}
