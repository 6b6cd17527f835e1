package presented

import (
	"errors"
	"net/http"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// The error codes of RFC 6750 s3.1 and RFC 9470 s3 that are not in package oauth.
const (
	InvalidToken      oauth.Code = "invalid_token"
	InsufficientScope oauth.Code = "insufficient_scope"
	Stale             oauth.Code = "insufficient_user_authentication"
)

// refuse is one answer for every reason: whoever holds a bad token does not learn what is wrong with it.
func refuse(err error) *oauth.Error {
	return &oauth.Error{Code: InvalidToken, Description: "The access token is not valid here.", Status: http.StatusUnauthorized, Err: err}
}

// asRefusal gives an error of the token endpoint the status it has at a resource (RFC 9449 s7.1).
func asRefusal(err error) *oauth.Error {
	e, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		return oauth.Internal(err)
	}
	refusal := *e
	refusal.Status = http.StatusUnauthorized
	return &refusal
}

// Refuse answers a request whose token is missing (err is nil), bad or not enough, RFC 6750 s3: the challenge says why, the body says it again. more are further
// parameters of the challenge, each `name="value"` of our own making.
func Refuse(w http.ResponseWriter, r *http.Request, err error, more ...string) {
	if err == nil {
		// RFC 6750 s3.1: who did not know that a token is needed is not told of an error.
		setChallenge(w, nil)
		web.Fail(w, r, &problem.Error{Kind: problem.Unauthenticated, Detail: "This needs an access token."})
		return
	}
	e, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		e = oauth.Internal(err)
	}
	web.Note(r.Context(), e)
	if e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests {
		setChallenge(w, append([]string{`error="` + string(e.Code) + `"`, `error_description="` + e.Description + `"`}, more...))
	}
	oauth.WriteError(w, e)
}

// setChallenge offers both schemes. Descriptions are fixed texts of ours without quotation marks.
func setChallenge(w http.ResponseWriter, params []string) {
	var algorithms []string
	for _, a := range jose.ProofAlgorithms() {
		algorithms = append(algorithms, string(a))
	}
	params = append([]string{`realm="agentidp"`}, params...)
	w.Header()["Www-Authenticate"] = []string{
		"Bearer " + strings.Join(params, ", "),
		"DPoP " + strings.Join(append(params, `algs="`+strings.Join(algorithms, " ")+`"`), ", "),
	}
}
