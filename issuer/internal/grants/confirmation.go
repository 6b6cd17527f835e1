package grants

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/http"

	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// tokenPath is where the token endpoint is below an issuer, as metadata says it: htu of a proof.
const tokenPath = "/oauth2/token"

// confirm finds out what the sender holds, and what the token will be bound to: the key of a DPoP proof whenever there is one (RFC 9449 s5), the certificate of
// the connection when the client's record says so (RFC 8705 s3). A client whose tokens are to be bound gets no other.
func (e *Endpoint) confirm(w http.ResponseWriter, r *http.Request, request *Request) error {
	keyBound, certificateBound := request.binding()
	proof, err := e.cfg.Proofs.Check(r, request.Issuer.URL(tokenPath), "", request.Now)
	switch {
	case err != nil:
		return err
	case proof != nil:
		request.Confirmation.KeyThumbprint = proof.Thumbprint
		request.Issuance.Uses = append(request.Issuance.Uses, proof.Use)
		if proof.NextNonce != "" {
			w.Header().Set(dpop.NonceHeader, proof.NextNonce)
		}
	case keyBound:
		return e.cfg.Proofs.Demand(request.Now)
	}
	request.Certificate = certificateThumbprint(r.TLS)
	if !certificateBound {
		return nil
	}
	if request.Certificate == "" {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "The client must use a TLS client certificate: its tokens are bound to it."}
	}
	request.Confirmation.CertificateSHA256 = request.Certificate
	return nil
}

// certificateThumbprint is x5t#S256 (RFC 8705 s3.1) of the certificate whose key the other end of the connection proved to have. Our own listener ends the
// connection: no header has a say.
func certificateThumbprint(connection *tls.ConnectionState) string {
	if connection == nil || len(connection.PeerCertificates) == 0 {
		return ""
	}
	digest := sha256.Sum256(connection.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
