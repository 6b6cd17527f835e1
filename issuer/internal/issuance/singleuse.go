package issuance

import (
	"errors"
	"time"
)

// The purposes of a SingleUse. They keep apart what could have the same key.
const (
	UseProof           = "dpop"             // a DPoP proof, RFC 9449 s11.1
	UseAssertion       = "assertion"        // an assertion, RFC 7523 s3
	UseClientAssertion = "client_assertion" // RFC 7523 s3, item 7
)

// The purposes that an UsedError has besides: what is used up where it is kept, and by no SingleUse.
const (
	UseSignIn        = "sign_in"        // the code or refresh token of a sign-in
	UsePushedRequest = "pushed_request" // RFC 9126 s7.3
)

// SingleUse is something that may be used once.
type SingleUse struct {
	Purpose   string
	Key       [32]byte  // a hash of all that tells it from others
	ExpiresAt time.Time // it is refused for its age from then on, and may be forgotten
}

// UsedError is what was used before, or is being used by a token that was faster.
type UsedError struct{ Purpose string }

func (e *UsedError) Error() string { return e.Purpose + ": used before" }

// AsUsed reports whether err is an UsedError.
func AsUsed(err error) (*UsedError, bool) { return errors.AsType[*UsedError](err) }
