package credentials

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
)

// ErrAuthentication is every failed client authentication. It says nothing about why: a stranger must not learn whether a client exists.
var ErrAuthentication error = &problem.Error{
	Kind: problem.Unauthenticated, Code: "client_authentication_failed", Detail: "client authentication failed",
}

// Check finds the credential that the client has proven to hold among those registered, or fails: with ErrAuthentication (wrapped or not) when there is
// none, with anything else when it could not be found out. It does the same work when nothing is registered.
type Check func(ctx context.Context, registered []Registered) (agentid.Credential, error)

// Prove ends the authentication of a client that was looked up: lookedUp is how that ended, active that the client may authenticate if there is one. Every failed
// authentication is ErrAuthentication after the same work: for a client that does not exist, or is not active, check is called with nothing registered. A failure of
// the look-up is a different error (Unavailable).
func Prove(ctx context.Context, lookedUp error, active bool, registered []Registered, check Check) (agentid.Credential, error) {
	if lookedUp != nil && problem.KindOf(lookedUp) != problem.NotFound {
		return agentid.Credential{}, Unavailable(lookedUp)
	}
	known := lookedUp == nil && active
	if !known {
		registered = nil
	}
	matched, err := check(ctx, registered)
	if err != nil {
		return agentid.Credential{}, err
	}
	if !known || matched.IsZero() {
		return agentid.Credential{}, ErrAuthentication
	}
	return matched, nil
}

// Unavailable is a failure of the store as the answer to whoever authenticates: to try again.
func Unavailable(err error) error {
	if problem.KindOf(err) == problem.Unavailable {
		return err
	}
	return &problem.Error{Kind: problem.Unavailable, Code: "store_unavailable", Detail: "try again later", RetryAfter: time.Second, Err: err}
}
