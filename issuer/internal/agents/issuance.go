package agents

import (
	"context"
	"errors"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Issuance is a token that is about to leave, and what becomes true with it: all of it is committed together, or no token leaves.
type Issuance struct {
	Agent      Agent              // the client
	Credential agentid.Credential // what it authenticated with
	Details    map[string]any     // of the audit record; never a secret

	// Holders are agents of the same organization besides the client that the token speaks of: it must not leave when one of them was suspended since its
	// token was verified.
	Holders []Holder

	// SignIn is what the token of a relying party changes in the sign-in it comes from; nil for the tokens of agents themselves.
	SignIn *SignInStep

	// Uses are what this token uses up: nothing that may be used once is used by two tokens, whatever processes they are asked of.
	Uses []SingleUse
}

// Holder is an agent whose token another one is made from.
type Holder struct {
	Agent      agentid.Agent
	Credential agentid.Credential // of the token; zero when it names none
	IssuedAt   time.Time          // of the token: it must not be older than the agent's watermark
}

// The purposes of a SingleUse. They keep apart what could have the same key.
const (
	UseProof     = "dpop"      // a DPoP proof, RFC 9449 s11.1
	UseAssertion = "assertion" // an assertion, RFC 7523 s3

	UseClientAssertion = "client_assertion" // RFC 7523 s3, item 7
)

// SingleUse is something that may be used once.
type SingleUse struct {
	Purpose   string
	Key       [32]byte  // a hash of all that tells it from others
	ExpiresAt time.Time // it is refused for its age from then on, and may be forgotten
}

// UsedError is a SingleUse that was used before, or is being used by a token that was faster.
type UsedError struct{ Purpose string }

func (e *UsedError) Error() string { return e.Purpose + ": used before" }

// AsUsed reports whether err is an UsedError.
func AsUsed(err error) (*UsedError, bool) { return errors.AsType[*UsedError](err) }

// RecordTokenIssued is Store.RecordTokenIssued. The token's iat must be read from the clock before the call: then a suspension, which waits for
// this record, is always later than the token it has to kill.
func (s *Service) RecordTokenIssued(ctx context.Context, actor audit.Actor, i Issuance) error {
	return s.store.RecordTokenIssued(ctx, actor, i)
}
