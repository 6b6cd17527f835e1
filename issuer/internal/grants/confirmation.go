package grants

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/http"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// tokenPath is where the token endpoint is below an issuer, as metadata says it: htu of a proof.
const tokenPath = "/oauth2/token"

// confirmKey binds the token to the key of a DPoP proof whenever there is one (RFC 9449 s5). It comes before the client is looked at, and so before anything is used up: a
// client that is asked for a nonce (s8) repeats its request with another proof, and may do so with the same client assertion.
func (e *Endpoint) confirmKey(w http.ResponseWriter, r *http.Request, request *Request) error {
	proof, err := e.cfg.Proofs.Check(r, request.Issuer.URL(tokenPath), "", request.Now)
	if err != nil || proof == nil {
		return err
	}
	request.Confirmation.KeyThumbprint = proof.Thumbprint
	request.Issuance.Uses = append(request.Issuance.Uses, proof.Use)
	if proof.NextNonce != "" {
		w.Header().Set(dpop.NonceHeader, proof.NextNonce)
	}
	return nil
}

// confirm holds what the sender proved to have against the client's record: a client whose tokens are to be bound gets no other. They are bound to the certificate of the
// connection when the record says so (RFC 8705 s3).
func (e *Endpoint) confirm(r *http.Request, request *Request) error {
	keyBound, certificateBound := request.binding()
	if keyBound && request.Confirmation.KeyThumbprint == "" {
		return e.cfg.Proofs.Demand(request.Now)
	}
	if err := e.useNow(r.Context(), request); err != nil {
		return err
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

// useNow uses up what the request presented. It is used up with the token, in the organization that the token is recorded in, but for a client that belongs to none and
// gets tokens of many: then before, once for all of them.
func (e *Endpoint) useNow(ctx context.Context, request *Request) error {
	if request.RelyingParty == nil || !request.RelyingParty.Client.Organization().IsZero() {
		return nil
	}
	for _, use := range request.Issuance.Uses {
		err := e.cfg.Recorder.UseUp(ctx, agentid.Organization{}, use)
		if _, used := issuance.AsUsed(err); used {
			return usedProof(err)
		}
		if err != nil {
			return err
		}
	}
	request.Issuance.Uses = nil
	return nil
}

func usedProof(err error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "The DPoP proof was used before.", Err: err}
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
