// Package clientauth authenticates OAuth clients. A request proves itself by exactly one method; each method is one row of a table, so that a
// request using two of them is seen before either is tried.
package clientauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Method is a client authentication method by its name in metadata (RFC 8414 s2).
type Method string

// The methods.
const (
	ClientSecretBasic Method = "client_secret_basic"
	ClientSecretPost  Method = "client_secret_post"
)

// Methods is every method, for metadata.
func Methods() []string { return []string{string(ClientSecretBasic), string(ClientSecretPost)} }

// secretBytesMax bounds what is hashed; our secrets are 48 bytes. An id is bounded by its own form.
const secretBytesMax = 256

// Client is who made the request and how it was proven.
type Client struct {
	Agent      agents.Agent
	Credential agentid.Credential
	Method     Method
}

// Agents checks secrets. Its contract: every failed authentication is agents.ErrAuthentication after the same work, whether the client exists or
// not; anything else is a failure of ours.
type Agents interface {
	AuthenticateSecret(ctx context.Context, clientID, secret string) (agents.Agent, agentid.Credential, error)
}

// Authenticator authenticates clients.
type Authenticator struct{ agents Agents }

// New returns an Authenticator over the registered agents.
func New(a Agents) *Authenticator { return &Authenticator{a} }

// Authenticate returns the client, or an *oauth.Error.
func (a *Authenticator) Authenticate(r *http.Request, form oauth.Form) (Client, error) {
	claim, err := read(r, form)
	if err != nil {
		return Client{}, err
	}
	agent, credential, err := a.agents.AuthenticateSecret(r.Context(), claim.id, claim.secret)
	switch {
	case err == nil:
		return Client{agent, credential, claim.method}, nil
	case errors.Is(err, agents.ErrAuthentication):
		return Client{}, failed()
	case problem.KindOf(err) == problem.Unavailable:
		return Client{}, oauth.Unavailable(err)
	}
	return Client{}, oauth.Internal(err)
}

// failed is one answer for every reason.
func failed() *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed."}
}

// claim is what a request says about itself; nothing of it is believed yet.
type claim struct {
	method     Method
	id, secret string
}

// read finds the one method in use. RFC 6749 s2.3: a client must not use more than one in a request.
func read(r *http.Request, form oauth.Form) (claim, error) {
	headers := r.Header.Values("Authorization")
	posted := form.Get("client_secret") != ""
	switch {
	case len(headers) > 1, len(headers) == 1 && posted:
		return claim{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "A client must authenticate by exactly one method."}
	case len(headers) == 1:
		return basic(headers[0], form)
	case posted && form.Get("client_id") != "":
		return bounded(claim{ClientSecretPost, form.Get("client_id"), form.Get("client_secret")})
	}
	return claim{}, &oauth.Error{Code: oauth.InvalidClient, Description: "The client must authenticate."}
}

// basic reads client_secret_basic, RFC 6749 s2.3.1: base64 of the form-urlencoded id, a colon, and the form-urlencoded secret. A client_id in
// the body too is no second method, but it must be the same (RFC 6749 s3.2.1 lets clients send it).
func basic(header string, form oauth.Form) (claim, error) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return claim{}, failed()
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return claim{}, failed()
	}
	rawID, rawSecret, colon := strings.Cut(string(decoded), ":")
	id, idErr := url.QueryUnescape(rawID)
	secret, secretErr := url.QueryUnescape(rawSecret)
	if !colon || idErr != nil || secretErr != nil {
		return claim{}, failed()
	}
	if other := form.Get("client_id"); other != "" && other != id {
		return claim{}, &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is not the client that authenticates."}
	}
	return bounded(claim{ClientSecretBasic, id, secret})
}

func bounded(c claim) (claim, error) {
	if len(c.secret) > secretBytesMax || c.secret == "" {
		return claim{}, failed()
	}
	return c, nil
}
