package oauth

import (
	"net/http"
	"strconv"
	"time"
)

// The error codes of dynamic client registration, RFC 7591 s3.2.2, and of the tokens that open it, RFC 6750 s3.1.
const (
	InvalidClientMetadata Code = "invalid_client_metadata"
	InvalidRedirectURI    Code = "invalid_redirect_uri"
	InvalidToken          Code = "invalid_token"
)

// bearerChallenge is the challenge of a resource that wants a Bearer token.
const bearerChallenge = `Bearer realm="agentidp"`

// WriteBearerError answers with e where a Bearer token was to prove who asks. A 401 carries the challenge of RFC 6750 s3: with the code when there was a
// token, without when there was none.
func WriteBearerError(w http.ResponseWriter, e *Error, presented bool) {
	status := e.status()
	if e.Code == InvalidToken {
		status = http.StatusUnauthorized
	}
	if status == http.StatusUnauthorized {
		challenge := bearerChallenge
		if presented {
			challenge += `, error="` + string(e.Code) + `"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	write(w, status, struct {
		Error       Code   `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, e.Description})
}

// WriteJSON answers an endpoint of OAuth with a body of its own; nothing of it may be kept by a cache.
func WriteJSON(w http.ResponseWriter, status int, body any) { write(w, status, body) }

// WriteEmpty answers 200 with nothing to say, RFC 7009 s2.2.
func WriteEmpty(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Length", "0")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(http.StatusOK)
}
