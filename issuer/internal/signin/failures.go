package signin

import (
	"errors"
	"net/http"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// forAgent reports whether a refusal is about the agent's own authentication: the agent can do better, the client cannot.
func forAgent(err error) bool {
	if _, stale := errors.AsType[*staleError](err); stale {
		return true
	}
	if _, malformed := errors.AsType[*malformedError](err); malformed {
		return true
	}
	e, ok := errors.AsType[*oauth.Error](err)
	return ok && e.Status == http.StatusUnauthorized
}

// asProblem is a failure that must not be redirected, for whoever sent the request.
func asProblem(err error) error {
	e, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		return err
	}
	kind := problem.Invalid
	switch e.Status {
	case http.StatusRequestEntityTooLarge:
		kind = problem.TooLarge
	case http.StatusServiceUnavailable:
		kind = problem.Unavailable
	case http.StatusTooManyRequests:
		kind = problem.RateLimited
	}
	return &problem.Error{Kind: kind, Code: "invalid_authorization_request", Detail: e.Description, RetryAfter: e.RetryAfter, Err: e.Err}
}
