// Package oauth is the vocabulary of the OAuth endpoints: request forms, scopes, error codes and the one writer of each kind of answer.
// It knows the RFCs and nothing of this issuer.
package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
)

// Code is an error code of RFC 6749 s5.2 or of an extension.
type Code string

// The error codes that are used. RFC 6749 s5.2 has no codes for our own failures; those two come from s4.1.2.1, where they mean the same.
const (
	InvalidRequest         Code = "invalid_request"
	InvalidClient          Code = "invalid_client"
	UnauthorizedClient     Code = "unauthorized_client"
	UnsupportedGrantType   Code = "unsupported_grant_type"
	InvalidScope           Code = "invalid_scope"
	InvalidGrant           Code = "invalid_grant"
	InvalidTarget          Code = "invalid_target"     // RFC 8707 s2
	InvalidDPoPProof       Code = "invalid_dpop_proof" // RFC 9449 s5
	UseDPoPNonce           Code = "use_dpop_nonce"     // RFC 9449 s8
	ServerError            Code = "server_error"
	TemporarilyUnavailable Code = "temporarily_unavailable"

	InvalidAuthorizationDetails Code = "invalid_authorization_details" // RFC 9396 s5
)

// Error is the answer of an OAuth endpoint that failed. Description is fixed text: it never repeats what was sent. Err is for operators.
type Error struct {
	Code        Code
	Description string
	Status      int           // 0 is what RFC 6749 s5.2 says: 401 for invalid_client, else 400
	RetryAfter  time.Duration // when coming again helps
	DPoPNonce   string        // for the client's next proof, RFC 9449 s8; "" for none
	Err         error
}

func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Description
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) status() int {
	switch {
	case e.Status != 0:
		return e.Status
	case e.Code == InvalidClient:
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

// challenge of a 401. RFC 6749 s5.2 demands it when the client used the Authorization header, RFC 9110 s15.5.2 always.
const challenge = `Basic realm="agentidp"`

// WriteError answers with e. A challenge that is set already stays.
func WriteError(w http.ResponseWriter, e *Error) {
	status := e.status()
	if status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if e.DPoPNonce != "" {
		w.Header().Set("DPoP-Nonce", e.DPoPNonce)
	}
	write(w, status, struct {
		Error       Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, e.Description})
}

// TokenResponse is a successful answer, RFC 6749 s5.1.
type TokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`      // seconds
	Scope       string `json:"scope,omitempty"` // said also when it is what was asked for; "" is no scope (s3.3)

	IssuedTokenType      string          `json:"issued_token_type,omitempty"`     // RFC 8693 s2.2.1
	RefreshToken         string          `json:"refresh_token,omitempty"`         // RFC 6749 s6
	IDToken              string          `json:"id_token,omitempty"`              // OpenID Connect Core s3.1.3.3
	AuthorizationDetails json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 s7
}

// The token types.
const (
	Bearer = "Bearer" // RFC 6750
	DPoP   = "DPoP"   // RFC 9449 s5
	NoType = "N_A"    // RFC 8693 s2.2.1: not a token to access something with
)

// WriteToken answers with a token.
func WriteToken(w http.ResponseWriter, t TokenResponse) { write(w, http.StatusOK, t) }

// PushedResponse is the answer to a pushed authorization request, RFC 9126 s2.2.
type PushedResponse struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
}

// WritePushed answers that a request was taken.
func WritePushed(w http.ResponseWriter, p PushedResponse) { write(w, http.StatusCreated, p) }

// write adds what RFC 6749 s5.1 demands of every answer that may hold a token.
func write(w http.ResponseWriter, status int, body any) {
	doc, err := json.Marshal(body)
	if err != nil {
		panic("oauth: a struct of strings does not marshal: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(doc)))
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(doc) // the client may be gone; there is nobody left to tell
}

// retryAfter of a failure that should pass by itself.
const retryAfter = time.Second

// Unavailable is the answer when something we need cannot be reached.
func Unavailable(err error) *Error {
	return &Error{
		Code: TemporarilyUnavailable, Description: "The issuer cannot issue tokens right now.",
		Status: http.StatusServiceUnavailable, RetryAfter: retryAfter, Err: err,
	}
}

// From is err as the answer of an OAuth endpoint: the *Error in its chain when there is one, else one of our own failures: Unavailable when err is a problem of that
// kind, Internal when nobody classified it.
func From(err error) *Error {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure
	}
	if problem.KindOf(err) == problem.Unavailable {
		return Unavailable(err)
	}
	return Internal(err)
}

// Internal is the answer to any failure nobody classified.
func Internal(err error) *Error {
	return &Error{Code: ServerError, Description: "Something went wrong on our side.", Status: http.StatusInternalServerError, Err: err}
}
