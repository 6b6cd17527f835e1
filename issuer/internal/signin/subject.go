package signin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/presented"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// The authentication contexts (acr) and what is added to the methods (amr) when possession of a key was proven in the sign-in itself.
const (
	ContextBearer     = "urn:agentidp:acr:bearer"
	ContextPossession = "urn:agentidp:acr:possession"
	methodPossession  = "pop" // RFC 8176 s2
)

// Contexts is every acr, for metadata.
func Contexts() []string { return []string{ContextBearer, ContextPossession} }

// Presented checks access tokens. presented.Checker implements it.
type Presented interface {
	Check(r *http.Request, path, scheme, text string) (*presented.Token, error)
}

// subject is the agent that follows an authorization request, and how it proved itself.
type subject struct {
	agent          agents.Agent
	credential     agentid.Credential
	authentication tokens.Authentication
	nextNonce      string
}

// errNobody is a request that presents nothing: a person's browser, or an agent that forgot.
var errNobody = errors.New("nobody presented a credential")

// malformedError is a credential that is presented as none can be. It is the agent's to mend as one that is not good, but 400 (RFC 6750 s3.1).
type malformedError struct{ err error }

func (e *malformedError) Error() string { return e.err.Error() }
func (e *malformedError) Unwrap() error { return e.err }

// subject authenticates the agent by its own access token for the issuer. Nobody else's will do: a relying party that was given a token of the agent's, or an
// actor that acts for it, could else sign in as it everywhere.
func (e *Authorization) subject(r *http.Request, now time.Time) (*subject, error) {
	scheme, text, err := presented.Text(r, "")
	if err != nil {
		return nil, &malformedError{err}
	}
	if text == "" {
		return nil, errNobody
	}
	t, err := e.cfg.Presented.Check(r, authorizePath, scheme, text)
	if err != nil {
		return nil, err
	}
	if !t.Own() {
		return nil, unauthorized(&oauth.Error{Code: presented.InvalidToken, Description: "The access token is not the agent's own."})
	}
	s := &subject{
		agent: t.Agent, credential: t.Credential, nextNonce: t.NextNonce,
		authentication: tokens.Authentication{At: t.IssuedAt, Context: ContextBearer, Methods: []string{t.CredentialKind}},
	}
	if t.Held { // the agent proved itself now, and not only when it got the token
		// A token of the second after a revocation is dated to it (package tokens); the sign-in is no older.
		s.authentication = tokens.Authentication{At: later(now.Truncate(time.Second), t.IssuedAt), Context: ContextPossession, Methods: []string{t.CredentialKind, methodPossession}}
	}
	return s, nil
}

func unauthorized(err error) error {
	if e, ok := errors.AsType[*oauth.Error](err); ok {
		refusal := *e
		refusal.Status = http.StatusUnauthorized
		return &refusal
	}
	return err
}

// staleError is an authentication that is older than the request allows, RFC 9470 s3.
type staleError struct{ maxAge time.Duration }

// sameSecond is how long an agent has to wait until a new token is one of another second than the last: auth_time has whole seconds.
const sameSecond = time.Second

func (e *staleError) Error() string { return "the agent authenticated too long ago" }

// recent checks the age of the authentication. Whole seconds, as auth_time has them.
func (p prompt) recent(at, now time.Time) error {
	oldest := p.oldest()
	if oldest < 0 || now.Unix()-at.Unix() <= int64(oldest/time.Second) {
		return nil
	}
	return &staleError{oldest}
}

// anew holds a request for a fresh authentication to its word (OpenID Connect Core s3.1.2.1, prompt=login): one that the client was told of before is no other, whatever its
// age. An agent that proves possession of a key in the request authenticates by it.
func (e *Authorization) anew(ctx context.Context, request *request, who *subject) error {
	if !request.prompt.fresh || who.authentication.Context == ContextPossession {
		return nil
	}
	told, err := e.cfg.Store.SignedIn(ctx, who.agent.OrganizationID, request.client.ClientID(), who.agent.ID, who.authentication.At)
	if err == nil && told {
		err = &staleError{0}
	}
	return err
}

// challenge answers the agent itself: with a better credential it may follow the same URL again, and nothing of the request is used up.
func challenge(w http.ResponseWriter, r *http.Request, err error) {
	if stale, ok := errors.AsType[*staleError](err); ok {
		refusal := &oauth.Error{
			Code: presented.Stale, Description: "The agent must authenticate anew and follow the URL again.", Status: http.StatusUnauthorized, Err: err,
		}
		if stale.maxAge == 0 {
			refusal.RetryAfter = sameSecond
		}
		presented.Refuse(w, r, refusal, `max_age="`+strconv.FormatInt(int64(stale.maxAge/time.Second), 10)+`"`)
		return
	}
	presented.Refuse(w, r, err)
}

// checkHint is id_token_hint, OpenID Connect Core s3.1.2.1: an ID token of this client says which agent is meant, also after it expired.
func checkHint(issuer issuers.Issuer, request *request, agent agents.Agent, now time.Time) error {
	if request.hint == "" {
		return nil
	}
	meant, err := tokens.ReadHint(issuer, request.hint, request.client.ClientID(), now)
	if err != nil {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "id_token_hint is not an ID token that was issued to the client.", Err: err}
	}
	if meant != agent.ID.String() {
		return &oauth.Error{Code: oauth.LoginRequired, Description: "The agent is not the one that id_token_hint names."}
	}
	return nil
}
