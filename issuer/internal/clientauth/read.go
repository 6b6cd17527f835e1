package clientauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// secretBytesMax bounds what is hashed; our secrets are 48 bytes. An id is bounded by its own form.
const secretBytesMax = 256

// read finds the one method in use. RFC 6749 s2.3: a client must not use more than one in a request. The certificate of the connection is a proof when there is no
// other, and the request says whose it is (RFC 8705 s2); beside another it is what tokens may be bound to.
func read(r *http.Request, form oauth.Form) (proof, error) {
	headers := r.Header.Values("Authorization")
	posted := form.Get("client_secret") != ""
	asserted := form.Get("client_assertion") != "" || form.Get("client_assertion_type") != ""
	used := len(headers)
	for _, method := range []bool{posted, asserted} {
		if method {
			used++
		}
	}
	id := form.Get("client_id")
	switch {
	case used > 1:
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "A client must authenticate by exactly one method."}
	case len(headers) == 1:
		return basic(headers[0], form)
	case asserted:
		return readAssertion(form)
	case posted && id != "":
		return secret{credentials.ClientSecretPost, id, form.Get("client_secret")}.bounded()
	case !posted && id != "" && r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
		return certificate{id, r.TLS.PeerCertificates}, nil
	case !posted && id != "" && !form.Has("client_secret") && !form.Has("client_assertion"):
		return nothing{id}, nil
	}
	return nil, errUnproven()
}

// nothing is a client_id with no proof at all. It is enough for a relying party that has nothing to prove itself with.
type nothing struct{ id string }

func (n nothing) client() string { return n.id }

// secret is client_secret_basic or client_secret_post.
type secret struct {
	method    credentials.Method
	id, value string
}

func (s secret) client() string { return s.id }

// basic reads client_secret_basic, RFC 6749 s2.3.1: base64 of the form-urlencoded id, a colon, and the form-urlencoded secret. A client_id in
// the body too is no second method, but it must be the same (RFC 6749 s3.2.1 lets clients send it).
func basic(header string, form oauth.Form) (proof, error) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil, failed(nil)
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return nil, failed(nil)
	}
	rawID, rawSecret, colon := strings.Cut(string(decoded), ":")
	id, idErr := url.QueryUnescape(rawID)
	value, secretErr := url.QueryUnescape(rawSecret)
	if !colon || idErr != nil || secretErr != nil {
		return nil, failed(nil)
	}
	if other := form.Get("client_id"); other != "" && other != id {
		return nil, otherClient()
	}
	return secret{credentials.ClientSecretBasic, id, value}.bounded()
}

func otherClient() *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidRequest, Description: "client_id is not the client that authenticates."}
}

func (s secret) bounded() (proof, error) {
	if len(s.value) > secretBytesMax || s.value == "" {
		return nil, failed(nil)
	}
	return s, nil
}
